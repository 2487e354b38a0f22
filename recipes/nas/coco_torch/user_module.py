"""People on COCO pictures for a search: boxes, a head without anchors on two maps, and average precision."""

import glob
import os

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

SIZE = 128
#: Classes of COCO that are looked for.
CLASSES = (0,)
#: Boxes of a picture at the most, and how many pixels one step of each map is.
BOXES, STEPS = 40, (8, 16)
#: Boxes up to this side are for the finer map.
SMALL = 48


class People(torch.utils.data.Dataset):
    """Every fifth picture of a folder judges, all others train."""

    def __init__(self, folder, training):
        self.training = training
        self.pictures, self.boxes = [], []
        for number, path in enumerate(sorted(glob.glob(os.path.join(folder, "images", "*.jpg")))):
            if training != (number % 5 != 0):
                continue
            picture = np.asarray(Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.BILINEAR), np.float32)
            self.pictures.append(torch.from_numpy((picture.transpose(2, 0, 1) - 115) / 65))
            self.boxes.append(boxes_of(os.path.join(folder, "labels", os.path.basename(path)[:-4] + ".txt")))

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        picture, boxes = self.pictures[index], self.boxes[index]
        if self.training and torch.rand(()) < 0.5:
            boxes = boxes.clone()
            boxes[:, 0] = torch.where(boxes[:, 2] > 0, SIZE - boxes[:, 0], boxes[:, 0])
            picture = picture.flip(2)
        return picture, boxes


def boxes_of(path):
    """BOXES rows of middle, width and height in pixels and the class; rows of width 0 are none."""
    found = torch.zeros(BOXES, 5)
    lines = open(path, encoding="utf-8").read().split("\n") if os.path.exists(path) else []
    rows = [[float(each) for each in line.split()] for line in lines if line.strip()]
    rows = [[*(SIZE * side for side in box), CLASSES.index(int(kind))] for kind, *box in rows if int(kind) in CLASSES]
    for row, box in enumerate(rows[:BOXES]):
        found[row] = torch.tensor(box)
    return found


class UserModule:
    def __init__(self, epoch, batch_size):
        self.epoch = epoch

    def dataset_define(self, dir, is_training):
        return People(dir, is_training)

    def scheduler_define(self, optimizer, steps_per_epoch):
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epoch * steps_per_epoch)

    def loss_func(self, labels, logits):
        """Focal loss of the classes at each place (Lin et al., 2017) and the distance of boxes where there is one."""
        total = 0.0
        for level, maps in enumerate(logits):
            classes, boxes, there = targets(labels, level, maps)
            chance = torch.sigmoid(maps[:, 4:])
            error = F.binary_cross_entropy_with_logits(maps[:, 4:], classes, reduction="none")
            weight = torch.where(classes > 0, 1 - chance, chance) ** 2
            count = there.sum().clamp(min=1)
            total = total + (weight * error).sum() / count
            total = total + (there * F.smooth_l1_loss(maps[:, :4], boxes, reduction="none").sum(1)).sum() / count
        return total

    def metrics_func(self, eval_dataloader, eval_function):
        """Average precision at half intersection over union, mean over classes, in percent."""
        found, known = [], []
        for inputs, labels in eval_dataloader:
            for index in range(len(inputs)):
                known.append([box for box in labels[index] if box[2] > 0])
            outputs = eval_function(inputs)
            found.extend(decode([maps[index] for maps in outputs]) for index in range(len(inputs)))
        return 100 * sum(precision(found, known, kind) for kind in range(len(CLASSES))) / len(CLASSES)


def targets(labels, level, maps):
    """What a map should say: classes, boxes, and where there is one; each box at the place that its middle lies in."""
    step, (count, _, height, width) = STEPS[level], maps.shape
    side = labels[:, :, 2:4].max(2)[0]
    taken = (side > 0) & ((side <= SMALL) == (level == 0))
    picture, row = taken.nonzero(as_tuple=True)
    box = labels[picture, row]
    x, y = ((box[:, at] / step).long().clamp(0, last - 1) for at, last in ((0, width), (1, height)))
    classes, boxes = torch.zeros_like(maps[:, 4:]), torch.zeros_like(maps[:, :4])
    there = torch.zeros_like(maps[:, 0])
    classes[picture, box[:, 4].long(), y, x] = 1
    there[picture, y, x] = 1
    middle = box[:, :2] / step - torch.stack([x, y], 1)
    boxes[picture, :, y, x] = torch.cat([middle, torch.log(box[:, 2:4].clamp(min=1) / step)], 1)
    return classes, boxes, there


def decode(maps):
    """Boxes of a picture, the surest first: chance, class, corners. Of boxes that overlap by half the surest stays."""
    rows = []
    for step, each in zip(STEPS, maps):
        chance, kind = torch.sigmoid(each[4:]).max(0)
        for place in chance.flatten().topk(min(50, chance.numel()))[1].tolist():
            y, x = divmod(place, each.shape[2])
            dx, dy, w, h = each[:4, y, x].clamp(-4, 4).tolist()
            w, h, x, y = step * np.exp(w), step * np.exp(h), step * (x + dx), step * (y + dy)
            rows.append((chance.flatten()[place].item(), kind.flatten()[place].item(), x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    kept = []
    for row in sorted(rows, reverse=True):
        if all(row[1] != other[1] or overlap(row[2:], other[2:]) < 0.5 for other in kept):
            kept.append(row)
    return kept


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0, width) * max(0, height)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both + 1e-9)


def precision(found, known, kind):
    """Area below precision over recall, precision made to fall (VOC 2010)."""
    boxes = [[(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h, k in rows if k == kind] for rows in known]
    free = [[True] * len(each) for each in boxes]
    hits = []
    for chance, picture, corners in sorted(((r[0], p, r[2:]) for p, rows in enumerate(found) for r in rows if r[1] == kind), reverse=True):
        shares = [overlap(corners, each) for each in boxes[picture]]
        best = int(np.argmax(shares)) if shares else -1
        hit = best >= 0 and shares[best] >= 0.5 and free[picture][best]
        if hit:
            free[picture][best] = False
        hits.append(hit)
    right = np.cumsum(hits)
    recall, exact = right / max(1, sum(map(len, boxes))), right / np.arange(1, len(hits) + 1)
    exact = np.maximum.accumulate(exact[::-1])[::-1]
    return float(np.sum(np.diff(np.concatenate([[0], recall])) * exact))


def conv(channels_in, channels_out, kernel=3, stride=1):
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(channels_out), nn.ReLU())


class PreNet(nn.Module):
    """Maps of a quarter of the picture's height and width."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, 16, 3, 2))

    def forward(self, inputs):
        return self.stem(inputs)


class PostNet(nn.Module):
    """Boxes and classes from the layer in feature_choose (2: every 8 pixels) and from the last one (every 16)."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList(nn.Sequential(conv(64, 32), nn.Conv2d(32, 4 + len(CLASSES), 1)) for _ in STEPS)
        for head in self.heads:
            # Nearly all places hold nothing (Lin et al., 2017, section 4.1).
            nn.init.constant_(head[1].bias[4:], -4.0)

    def forward(self, inputs):
        return [head(each) for head, each in zip(self.heads, inputs)]
