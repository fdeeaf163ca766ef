"""``hub export systemd``: a hardened unit, and a script that installs hubserve and the modules for it."""

from hubserve.export.base import Target, Written
from hubserve.export.compose import data_text
from hubserve.export.image import package_files
from hubserve.export.places import Places
from hubserve.export.plan import ExportPlan

UNIT = "hubserve"
_PLACES = Places(
    app="/opt/hubserve/current",
    home="/var/lib/hubserve/home",
    config="/etc/hubserve/config.json",
    models="/var/lib/hubserve/models",
    bundles="/usr/local/share/hubserve/modules",
    secrets=f"/etc/{UNIT}/secrets",
    data="/var/log/hubserve",
    sockets="/run/hubserve",
)
_FIRST_FREE_PORT = 1024

_UNIT = """\
[Unit]
Description=hubserve: {names}
Wants=network-online.target
After=network-online.target

[Service]
# READY=1 comes when the modules are loaded; RELOADING=1, STOPPING=1 and WATCHDOG=1 are sent, too
Type=notify
NotifyAccess=main
ExecStart={app}/bin/hub serving start -c {config}
ExecReload={app}/bin/hub serving reload -p {port}
TimeoutStartSec={start_s}
TimeoutStopSec={stop_s}
KillMode=mixed
WatchdogSec=60
Restart=on-failure
RestartSec=2

User={unit}
Group={unit}
StateDirectory={unit}
StateDirectoryMode=0750
LogsDirectory={unit}
RuntimeDirectory={unit}
RuntimeDirectoryMode=0750
WorkingDirectory=/var/lib/{unit}
Environment=HUB_HOME={home} PYTHONUNBUFFERED=1
# variables of yours, such as CUDA_VISIBLE_DEVICES
EnvironmentFile=-/etc/{unit}/{unit}.env
LimitNOFILE=65536

# --- what the server cannot do ---
NoNewPrivileges=yes
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
ProtectSystem=strict
# its state and its logs are writable by StateDirectory and LogsDirectory
ProtectHome=yes
PrivateTmp=yes
{devices}
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0027
# no MemoryDenyWriteExecute: the engines write machine code at run time

[Install]
WantedBy=multi-user.target
"""

_DEVICES = "PrivateDevices=yes"
_GPU_DEVICES = """\
# GPUs are devices, so that PrivateDevices cannot be set
DevicePolicy=closed
DeviceAllow=char-nvidia-frontend rw
DeviceAllow=char-nvidia-uvm rw
DeviceAllow=char-nvidia-caps rw"""

_INSTALL = """\
#!/bin/sh
# Install or upgrade hubserve and its modules for {unit}.service; run it as root, in this folder.
set -eu
cd "$(dirname "$0")"
umask 022
install -d /etc/{unit} /usr/local/share/{unit} /etc/sysusers.d
install -m 0644 {unit}.sysusers /etc/sysusers.d/{unit}.conf
systemd-sysusers /etc/sysusers.d/{unit}.conf
# certificates and keys: only root changes them, and the server reads them again when they change
install -d -m 0750 -o root -g {unit} /etc/{unit}/secrets
find /etc/{unit}/secrets -type f ! -name '.*' -exec chown root:{unit} {{}} + -exec chmod 0640 {{}} +
# each set of packages has a folder of its own, so that a running server keeps the files that it began with
release=$(cat requirements.txt wheels/*.whl | sha256sum | cut -c1-12)
if [ ! -e /opt/{unit}/$release/complete ]; then
    rm -rf /opt/{unit}/$release
    {python} -m venv /opt/{unit}/$release
    /opt/{unit}/$release/bin/pip install --no-deps -r requirements.txt
    /opt/{unit}/$release/bin/pip install --no-deps --no-index wheels/*.whl
    touch /opt/{unit}/$release/complete
fi
ln -sfn $release /opt/{unit}/next
mv -T /opt/{unit}/next {app}
rm -rf {bundles}
cp -R modules {bundles}
install -d -m 0750 -o {unit} -g {unit} /var/lib/{unit} {home} {home}/profiles
rm -rf {models}.new {models}.old
cp -R models {models}.new
[ ! -e {models} ] || mv {models} {models}.old
mv {models}.new {models}
rm -rf {models}.old
find profiles -name '*.json' -exec cp {{}} {home}/profiles/ \\;
{installs}
install -m 0644 config.json {config}
[ -e /etc/{unit}/{unit}.env ] || install -m 0600 {unit}.env /etc/{unit}/{unit}.env
install -D -m 0755 {unit}.sh /usr/local/bin/{unit}
install -m 0644 {unit}.service /etc/systemd/system/{unit}.service
"""


_COMMAND = """\
#!/bin/sh
# the command hub as the server's user, with the server's home
exec runuser -u {unit} -- env HUB_HOME={home} {app}/bin/hub "$@"
"""


class Systemd(Target):
    """A unit with ``Type=notify``, a user of its own, and as few rights as the engines live with."""

    summary = "a systemd unit with a script that installs it"
    places = _PLACES
    host = ""

    def render(self, plan: ExportPlan) -> Written:
        """See the base class."""
        environ = [(f"sudoedit /etc/{UNIT}/{UNIT}.env", "credentials for the model stores")] if plan.variables else []
        texts = {
            f"{UNIT}.service": unit_text(plan),
            f"{UNIT}.sysusers": f'u {UNIT} - "hubserve" /var/lib/{UNIT}\n',
            f"{UNIT}.env": _env_text(plan),
            f"{UNIT}.sh": _COMMAND.format(unit=UNIT, home=_PLACES.home, app=_PLACES.app),
            "install.sh": install_text(plan),
            "config.json": plan.config_text(),
            "prometheus-alerts.yml": data_text("prometheus-alerts.yml"),
            "grafana-dashboard.json": data_text("grafana-dashboard.json"),
        }
        steps = [
            *_credential_steps(plan),
            ("sudo ./install.sh", "install hubserve, the modules and the unit"),
            *environ,
            ("sudo systemctl daemon-reload && sudo systemctl enable --now hubserve", "serve, now and after each boot"),
            ("systemctl status hubserve", "see that it is ready"),
            ("sudo systemctl reload hubserve", "later: load changed modules and settings without a gap"),
        ]
        return Written(texts, [package_files(plan)], executable=["install.sh"], next_steps=steps)


def unit_text(plan: ExportPlan) -> str:
    """Return the unit."""
    is_low = any(port < _FIRST_FREE_PORT for port in plan.ports.values())
    return _UNIT.format(
        names=", ".join(plan.found.names) or "models",
        unit=UNIT,
        port=plan.settings.port,
        start_s=plan.load_timeout_s + 60,
        stop_s=plan.drain_s + 15,
        capabilities="CAP_NET_BIND_SERVICE" if is_low else "",
        devices=_GPU_DEVICES if plan.gpus else _DEVICES,
        app=_PLACES.app,
        config=_PLACES.config,
        home=_PLACES.home,
    )


def install_text(plan: ExportPlan) -> str:
    """Return the script that installs the export on a machine with systemd."""
    as_user = f"runuser -u {UNIT} -- env HUB_HOME={_PLACES.home} {_PLACES.app}/bin/hub"
    fields = {key: getattr(_PLACES, key) for key in ("app", "home", "config", "models", "bundles")}
    return _INSTALL.format(
        unit=UNIT,
        python="python" + ".".join(plan.python.split(".")[:2]),
        installs="\n".join(plan.found.install_commands(_PLACES.bundles, as_user)),
        **fields,
    )


def _env_text(plan: ExportPlan) -> str:
    names = "".join(f"# {each}=\n" for each in plan.variables)
    return "# environment variables of the server, such as:\n# CUDA_VISIBLE_DEVICES=0\n" + names


def _credential_steps(plan: ExportPlan) -> list[tuple[str, str]]:
    copies = " && ".join(f"sudo install -D -m 0600 {each.source} /etc/{UNIT}/secrets/{each.name}" for each in plan.secrets)
    return [(copies, "certificates and keys; install.sh lets the server read them")] if copies else []
