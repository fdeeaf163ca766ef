"""Make ``paddlehub`` importable in this process."""

import hubserve.compat

hubserve.compat.make_importable()
