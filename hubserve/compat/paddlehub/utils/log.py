"""``paddlehub.utils.log``: a logger named ``logger``."""

import logging

#: goes to the server's log with everything else
logger = logging.getLogger("paddlehub")
