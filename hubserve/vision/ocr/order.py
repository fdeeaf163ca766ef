"""Sort boxes of text in reading order."""

from typing import List

import numpy as np

#: of the lower one of two boxes: so far apart may their middles be in one line
_SAME_LINE = 0.5


def reading_order(boxes: np.ndarray) -> List[int]:
    """Sort boxes by lines from top to bottom, and within a line from left to right.

    Boxes whose middles are less than half a box's height apart are one line. The order that they come in makes no difference.

    Args:
        boxes: (n, 4, 2), x and y of corners.
    Returns:
        The numbers of the boxes, in order.
    """
    if not len(boxes):
        return []
    middles, heights = boxes.mean(axis=1), np.ptp(boxes[:, :, 1], axis=1)
    # corners break ties, so that the result depends on the boxes alone
    keys = [(middles[number][1], middles[number][0], *boxes[number].ravel().tolist()) for number in range(len(boxes))]
    lines: List[List[int]] = []
    for number in sorted(range(len(boxes)), key=lambda each: keys[each]):
        first = lines[-1][0] if lines else number
        apart = middles[number][1] - middles[first][1]
        if lines and apart < _SAME_LINE * min(heights[number], heights[first]):
            lines[-1].append(number)
        else:
            lines.append([number])
    return [number for line in lines for number in sorted(line, key=lambda each: (middles[each][0], keys[each]))]
