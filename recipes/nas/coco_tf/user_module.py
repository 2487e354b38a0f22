"""People on COCO pictures for a search: boxes, a head without anchors on two maps, and average precision."""

import functools
import glob
import os

import numpy as np
import tensorflow as tf
from PIL import Image

SIZE = 128
#: Classes of COCO that are looked for.
CLASSES = (0,)
#: Boxes of a picture at the most, and how many pixels one step of each map is.
BOXES, STEPS = 40, (8, 16)
#: Boxes up to this side are for the finer map.
SMALL = 48


@functools.lru_cache(None)
def people(folder, training):
    """Pictures and boxes: every fifth picture of a folder judges, all others train."""
    pictures, boxes = [], []
    for number, path in enumerate(sorted(glob.glob(os.path.join(folder, "images", "*.jpg")))):
        if training != (number % 5 != 0):
            continue
        picture = np.asarray(Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.BILINEAR), np.float32)
        pictures.append((picture - 115) / 65)
        boxes.append(boxes_of(os.path.join(folder, "labels", os.path.basename(path)[:-4] + ".txt")))
    return np.array(pictures, np.float32), np.array(boxes, np.float32)


def boxes_of(path):
    """BOXES rows of middle, width and height in pixels and the class; rows of width 0 are none."""
    found = np.zeros((BOXES, 5), np.float32)
    lines = open(path, encoding="utf-8").read().split("\n") if os.path.exists(path) else []
    rows = [[float(each) for each in line.split()] for line in lines if line.strip()]
    rows = [[*(SIZE * side for side in box), CLASSES.index(int(kind))] for kind, *box in rows if int(kind) in CLASSES]
    for row, box in enumerate(rows[:BOXES]):
        found[row] = box
    return found


def turned(picture, boxes):
    """Half of the pictures from left to right, boxes and all."""
    middle = tf.where(boxes[:, 2:3] > 0, SIZE - boxes[:, :1], boxes[:, :1])
    other = tf.reverse(picture, [1]), tf.concat([middle, boxes[:, 1:]], 1)
    return tf.cond(tf.random.uniform([]) < 0.5, lambda: other, lambda: (picture, boxes))


class UserModule:
    def __init__(self, epoch, batch_size):
        self.epoch, self.batch_size = epoch, batch_size
        self.count = 0
        self.metric = Precision()

    def build_dataset_search(self, dir, is_training, is_shuffle):
        pictures, boxes = people(dir, is_training)
        data = tf.data.Dataset.from_tensor_slices((pictures, boxes))
        if is_training:
            self.count = len(pictures)
            data = data.map(turned)
        if is_shuffle:
            data = data.shuffle(len(pictures))
        return data.batch(self.batch_size, drop_remainder=is_training), len(pictures)

    def lr_scheduler(self, lr_init, global_step):
        steps = max(1, self.epoch * (self.count // self.batch_size))
        return lr_init * 0.5 * (1 + tf.cos(np.pi * tf.cast(global_step, tf.float32) / steps))

    def loss_op(self, labels, logits):
        """Focal loss of the classes at each place (Lin et al., 2017) and the distance of boxes where there is one."""
        total = 0.0
        for level, maps in enumerate(logits):
            classes, boxes, there = targets(labels, level, maps)
            chance = tf.sigmoid(maps[..., 4:])
            error = tf.nn.sigmoid_cross_entropy_with_logits(classes, maps[..., 4:])
            weight = tf.where(classes > 0, 1 - chance, chance) ** 2
            count = tf.maximum(1.0, tf.reduce_sum(there))
            far = tf.abs(maps[..., :4] - boxes)
            far = tf.reduce_sum(tf.where(far < 1, 0.5 * far**2, far - 0.5), 3)
            total = total + (tf.reduce_sum(weight * error) + tf.reduce_sum(there * far)) / count
        return total

    def metrics_op(self, inputs, outputs):
        """The end of a metric counts: average precision is that of all pictures at once."""
        self.metric.update_state(inputs, outputs)
        return self.metric


def targets(labels, level, maps):
    """What a map should say: classes, boxes, and where there is one; each box at the place that its middle lies in."""
    step, (_, height, width, _) = STEPS[level], maps.shape
    side = tf.reduce_max(labels[:, :, 2:4], 2)
    taken = tf.where((side > 0) & ((side <= SMALL) == (level == 0)))
    box = tf.gather_nd(labels, taken)
    place = tf.clip_by_value(tf.cast(box[:, :2] / step, tf.int32), 0, [width - 1, height - 1])
    where = tf.stack([tf.cast(taken[:, 0], tf.int32), place[:, 1], place[:, 0]], 1)
    there = tf.zeros_like(maps[..., 0])
    there = tf.tensor_scatter_nd_update(there, where, tf.ones_like(box[:, 0]))
    kind = tf.concat([where, tf.cast(box[:, 4:], tf.int32)], 1)
    classes = tf.tensor_scatter_nd_update(tf.zeros_like(maps[..., 4:]), kind, tf.ones_like(box[:, 0]))
    middle = box[:, :2] / step - tf.cast(place, tf.float32)
    values = tf.concat([middle, tf.math.log(tf.maximum(box[:, 2:4], 1.0) / step)], 1)
    return classes, tf.tensor_scatter_nd_update(tf.zeros_like(maps[..., :4]), where, values), there


class Precision:
    """Average precision at half intersection over union, mean over classes, in percent; used as metrics of Keras are."""

    def __init__(self):
        self.reset_state()

    def reset_state(self):
        self.found, self.known = [], []

    def update_state(self, labels, maps):
        arrays = [each.numpy() for each in maps]
        for index, boxes in enumerate(labels.numpy()):
            self.known.append([box for box in boxes if box[2] > 0])
            self.found.append(decode([each[index] for each in arrays]))

    def result(self):
        return 100 * sum(precision(self.found, self.known, kind) for kind in range(len(CLASSES))) / len(CLASSES)


def decode(maps):
    """Boxes of a picture, the surest first: chance, class, corners. Of boxes that overlap by half the surest stays."""
    rows = []
    for step, each in zip(STEPS, maps):
        chances = 1 / (1 + np.exp(-each[..., 4:]))
        chance, kind = chances.max(2).ravel(), chances.argmax(2).ravel()
        for place in np.argsort(-chance, kind="stable")[:50]:
            y, x = divmod(int(place), each.shape[1])
            dx, dy, w, h = each[y, x, :4].clip(-4, 4)
            w, h, x, y = step * np.exp(w), step * np.exp(h), step * (x + dx), step * (y + dy)
            rows.append((chance[place], kind[place], x - w / 2, y - h / 2, x + w / 2, y + h / 2))
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


class Conv(tf.keras.layers.Layer):
    def __init__(self, channels, kernel=3, stride=1):
        super().__init__()
        self.conv = tf.keras.layers.Conv2D(channels, kernel, stride, "same", use_bias=False)
        self.norm = tf.keras.layers.BatchNormalization(momentum=0.9)

    def call(self, inputs, training=None):
        return tf.nn.relu(self.norm(self.conv(inputs), training=training))


class PreNet(tf.keras.Model):
    """Maps of a quarter of the picture's height and width."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Conv(16, 3, 2), Conv(16, 3, 2)

    def call(self, inputs, training=None):
        return self.second(self.first(inputs, training=training), training=training)


class PostNet(tf.keras.Model):
    """Boxes and classes from the layer in feature_choose (2: every 8 pixels) and from the last one (every 16)."""

    def __init__(self):
        super().__init__()
        self.joins = [Conv(32) for _ in STEPS]
        # Nearly all places hold nothing (Lin et al., 2017, section 4.1).
        first = tf.constant_initializer([0.0] * 4 + [-4.0] * len(CLASSES))
        self.heads = [tf.keras.layers.Conv2D(4 + len(CLASSES), 1, bias_initializer=first) for _ in STEPS]

    def call(self, inputs, training=None):
        joined = [join(each, training=training) for join, each in zip(self.joins, inputs)]
        return [head(each) for head, each in zip(self.heads, joined)]
