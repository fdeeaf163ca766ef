"""Residual networks with random weights, for libraries whose ``nn`` is like PyTorch's."""

WIDTHS = (64, 128, 256, 512)
#: layers -> the number of blocks of each width, and whether they are of three convolutions
DEPTHS = {18: ((2, 2, 2, 2), False), 50: ((3, 4, 6, 3), True)}


def resnet(nn, layers, classes=1000):
    """Return the network of 18 or 50 layers: (N, 3, 224, 224) to (N, classes)."""

    class Block(nn.Module):
        def __init__(self, before, width, stride, deep):
            super().__init__()
            after = width * 4 if deep else width
            sizes = [(before, width, 1, 1), (width, width, 3, stride), (width, after, 1, 1)]
            sizes = sizes if deep else [(before, width, 3, stride), (width, width, 3, 1)]
            steps = []
            for inputs, outputs, side, step in sizes:
                steps += [nn.Conv2d(inputs, outputs, side, step, side // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            self.way = nn.Sequential(*steps[:-1])
            self.short = None
            if before != after or stride > 1:
                self.short = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.way(x) + (x if self.short is None else self.short(x)))

    counts, deep = DEPTHS[layers]
    steps = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    before = 64
    for stage, (width, count) in enumerate(zip(WIDTHS, counts)):
        for each in range(count):
            steps.append(Block(before, width, 2 if stage and not each else 1, deep))
            before = width * 4 if deep else width
    steps += [nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(1), nn.Linear(before, classes)]
    network = nn.Sequential(*steps)
    for each in network.modules():
        if isinstance(each, nn.Conv2d):
            nn.init.kaiming_normal_(each.weight, mode="fan_out", nonlinearity="relu")
    return network.eval()


def tiny(nn):
    """Return a network of three layers: (N, 3, 32, 32) to (N, 10)."""
    steps = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d((4, 4)), nn.Flatten(1), nn.Linear(128, 10)]
    return nn.Sequential(*steps).eval()
