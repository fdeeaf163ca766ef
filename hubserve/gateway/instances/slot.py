"""The slot of one instance, which outlives the instances in it."""

import asyncio
from collections import Counter
from typing import Any

from hubserve.gateway.instances.dispatcher import InstanceDispatcher
from hubserve.gateway.instances.instance import Instance
from hubserve.gateway.instances.instance_spec import InstanceSpec

_MB = 1 << 20


class Slot:
    """A slot for one instance at a time.

    Args:
        spec: of its instances.

    Attributes:
        instance: the current one; None while it is being replaced.
        dispatcher: sends batches to that instance.
        restarts: how many instances were replaced.
        restart_causes: cause, such as "crash" or "hung", to how many were replaced for it.
        error: why the last one failed to load; "" if it loaded.
        replace_reason: why the instance will be replaced although it lives; "" for no reason.
        replace_cause: the same in a word.
        died_loading: whether the process of the last attempt to replace it ended while it loaded.
    """

    def __init__(self, spec: InstanceSpec) -> None:
        self.spec = spec
        self.instance: Instance | None = None
        self.dispatcher: InstanceDispatcher | None = None
        self.restarts = 0
        self.restart_causes: Counter[str] = Counter()
        self.error = ""
        self.replace_reason = ""
        self.replace_cause = ""
        self.died_loading = False
        self._replace_requested = asyncio.Event()

    def request_replacement(self, reason: str, cause: str) -> None:
        """Have the instance replaced as soon as another one is loaded.

        Args:
            reason: for the log.
            cause: one word, for metrics.
        """
        if not self.replace_reason:
            self.replace_reason, self.replace_cause = reason, cause
            self._replace_requested.set()

    async def until_replacement_requested(self) -> None:
        """Wait until a replacement is requested."""
        await self._replace_requested.wait()

    def count_restart(self, cause: str) -> None:
        """Count that an instance was replaced."""
        self.restarts += 1
        self.restart_causes[cause] += 1

    def put(self, instance: Instance) -> None:
        """Set the current instance, which is loaded."""
        self.instance, self.error, self.replace_reason, self.died_loading = instance, "", "", False
        self._replace_requested.clear()

    @property
    def serves(self) -> bool:
        """True if its instance lives and is given work."""
        return self.instance is not None and not self.instance.is_dead and not (self.dispatcher and self.dispatcher.retired)

    def status(self) -> dict[str, Any]:
        """Return its state as a JSON object, for people and monitors."""
        instance = self.instance
        return {
            "pid": instance.pid if instance else None,
            "address": self.spec.address,
            "in_flight": self.dispatcher.in_flight if self.dispatcher and instance else 0,
            "memory_mb": round(instance.memory_bytes() / _MB, 1) if instance else 0,
            "silent_s": round(instance.silent_s, 1) if instance else None,
            "restarts": self.restarts,
            "error": self.error,
        }
