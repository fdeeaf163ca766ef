"""Put on the path of a process that is to have no network: it connects to this machine only."""

import socket

_connect = socket.socket.connect


def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(("127.", "::1", "localhost")):
        raise OSError(101, "Network is unreachable")
    return _connect(self, address)


def getaddrinfo(host, *args, _original=socket.getaddrinfo, **kwargs):
    if host not in (None, "", "127.0.0.1", "::1", "localhost", "0.0.0.0"):
        raise socket.gaierror(-3, "Temporary failure in name resolution")
    return _original(host, *args, **kwargs)


socket.socket.connect = connect
socket.getaddrinfo = getaddrinfo
