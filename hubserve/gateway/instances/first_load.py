"""The first load of an instance, which nothing else serves for."""

import logging
from collections.abc import Callable

from hubserve.errors import LoadFailed
from hubserve.gateway.instances.instance import Instance
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.remote_instance import create_instance
from hubserve.wire.model_access import ModelAccess

log = logging.getLogger("hubserve")


class FirstLoad:
    """First load of an instance. It is tried once more if a crash of native code ended the process.

    Some libraries crash by chance, and without the second try the module would not be served at all. What raises fails again, and is
    not tried again.

    Args:
        spec: of the instance.
        models: returns the models that its module may use.

    Attributes:
        instance: of the current try.
    """

    def __init__(self, spec: InstanceSpec, models: Callable[[], ModelAccess]) -> None:
        self._spec = spec
        self._models = models
        self.instance: Instance = create_instance(spec, models)

    async def run(self, measure: bool) -> None:
        """Start the process and load the module.

        Args:
            measure: measure how long batches take.
        Raises:
            LoadFailed: as :meth:`Instance.start`, of the last try.
        """
        try:
            await self.instance.start(measure)
        except LoadFailed:
            if not self.instance.crash:
                raise
        else:
            return
        text = "the process of module '%s' (%s) %s while it loaded; the load is tried once more"
        log.warning(text, self._spec.module, self.instance.location, self.instance.crash, extra=self._spec.log_fields())
        self.instance = create_instance(self._spec, self._models)
        await self.instance.start(measure)
