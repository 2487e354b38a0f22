"""Shared weights compute what the network itself computes, and what a user may do wrong is told."""

import json
import os
import sys
import textwrap

import pytest

torch = pytest.importorskip("torch")

from dopt.errors import DoptError  # noqa: E402
from dopt.events import Events  # noqa: E402
from dopt.nas.scoring import Held, averaged, last_half  # noqa: E402
from dopt.nas import torch_parallel, torch_pretrain, torch_run, torch_search, torch_train, torch_user  # noqa: E402
from dopt.nas.torch_blocks import Network  # noqa: E402
from dopt.nas.torch_inherit import inherit  # noqa: E402
from dopt.nas.torch_supernet import Norm, Supernet, cut_out, go_on, recalibrate  # noqa: E402

USER = """
import torch
from torch import nn

class Points(torch.utils.data.Dataset):
    def __init__(self, count):
        generator = torch.Generator().manual_seed(3)
        self.inputs = torch.randn(count, 3, 8, 8, generator=generator)
        self.labels = (self.inputs.mean((1, 2, 3)) > 0).long()
    def __len__(self):
        return len(self.inputs)
    def __getitem__(self, index):
        return self.inputs[index], self.labels[index]

class UserModule:
    def __init__(self, epoch, batch_size):
        pass
    def dataset_define(self, dir, is_training):
        return Points(COUNT)
    def scheduler_define(self, optimizer, steps_per_epoch):
        return None
    def metrics_func(self, eval_dataloader, eval_function):
        return sum((eval_function(x).argmax(1) == y).sum().item() for x, y in eval_dataloader) / COUNT
    def loss_func(self, labels, logits):
        return nn.functional.cross_entropy(logits, labels) * FACTOR

class PreNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
    def forward(self, inputs):
        return self.stem(inputs)

class PostNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 2)
    def forward(self, inputs):
        return self.head(inputs.mean((2, 3)))
"""


def layer(block, before=8, after=16, stride=1, kernel=5, hidden=16, squeeze=0):
    return {"block": block, "in": before, "out": after, "stride": stride, "kernel": kernel, "hidden": hidden, "squeeze": squeeze}


def candidate(key, layers, parts=((2, None),), parent=None):
    return {"key": key, "layers": layers, "seed": 1, "parent": parent,
            "parts": [{"epochs": epochs, "file": file} for epochs, file in parts]}


BLOCKS = [
    layer("conv", hidden=0), layer("residual", stride=2), layer("residual", after=8, hidden=8), layer("bottleneck", hidden=8),
    layer("mbconv", squeeze=8), layer("mbconv", after=8), layer("fused", stride=2), layer("skip", after=8, kernel=0, hidden=0),
]


def largest(small):
    """Shared weights with more channels and a larger window than the layer needs."""
    grown = dict(small, kernel=max(small["kernel"], 7), hidden=2 * small["hidden"], squeeze=max(16, 2 * small["squeeze"]))
    grown.update({"in": 12, "out": 24})
    return {small["block"]: grown}


@pytest.mark.parametrize("small", BLOCKS, ids=lambda each: f"{each['block']}-{each['stride']}-{each['out']}")
def test_shared_weights_compute_what_the_network_does(small):
    torch.manual_seed(1)
    shared = Supernet(torch.nn.Identity(), [largest(small)], torch.nn.Identity())
    shared.active = [small]
    alone = Network(torch.nn.Identity(), [small], torch.nn.Identity())
    inputs = torch.randn(4, 8, 8, 8)
    for norm in (each for each in shared.modules() if isinstance(each, Norm)):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5), torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
    cut_out(alone, shared)
    alone.train(), shared.train()
    expected, found = alone(inputs), shared(inputs)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)
    # With statistics of their own both are the same in evaluation too.
    for network in (alone, shared):
        recalibrate(network, [inputs, 2 * inputs])
    assert torch.allclose(shared(inputs), alone(inputs), atol=1e-5)


def test_weights_to_go_on_from_lie_between_new_and_shared_ones():
    torch.manual_seed(1)
    small = layer("mbconv", squeeze=8)
    shared = Supernet(torch.nn.Identity(), [largest(small)], torch.nn.Identity())
    shared.active = [small]
    networks = [Network(torch.nn.Identity(), [small], torch.nn.Identity()) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    new = {name: each.detach().clone() for name, each in networks[0].named_parameters()}
    go_on(networks[0], shared)
    cut_out(networks[1], shared)
    for (name, each), ours in zip(networks[0].named_parameters(), networks[1].parameters()):
        if each.dim() < 2:
            assert torch.allclose(each, (new[name] + ours) / 2)
            continue
        assert torch.allclose(each.norm(), new[name].norm())
        alike = [torch.nn.functional.cosine_similarity(each.flatten(), other.flatten(), 0) for other in (new[name], ours)]
        assert abs(alike[0] - alike[1]) < 1e-4 and 0.5 < alike[0] < 0.9


@pytest.fixture
def project(tmp_path):
    def write(count=32, factor=1.0, source=USER):
        text = f"COUNT, FACTOR = {count}, float('{factor}')\n" + textwrap.dedent(source)
        (tmp_path / "user_module.py").write_text(text, encoding="utf-8")
        (tmp_path / "data").mkdir(exist_ok=True)
        return str(tmp_path)

    return write


def params(folder, **changes):
    networks = [[layer("conv", hidden=0)], [layer("residual")]]
    return {
        "folder": folder, "application": "image_classification", "trainFolder": os.path.join(folder, "data"),
        "valFolder": os.path.join(folder, "data"), "epochs": 2, "batchSize": 8, "features": [], "seed": 1, "gpu": None,
        "optimizer": {"type": "SGD", "learningRate": 0.05, "betas": [0.9, 0.999], "momentum": 0.9}, "threads": 1,
        "largest": [{"conv": networks[0][0], "residual": networks[1][0]}], "checkpoint": os.path.join(folder, "net.pth"),
        "deck": networks, "guide": networks[1],
        "preTrainFolder": None, "places": [None], "inputShape": [8, 8, 3], "framework": "PyTorch",
        "calibrationBatches": 2, "tuneBatches": 0, "tuneSeeds": 1,
        "networks": [candidate(str(i), each) for i, each in enumerate(networks)], **changes,
    }


def test_training_that_was_cut_off_ends_with_the_same_weights(project):
    folder = project()
    torch_train.train(params(folder), Events())
    whole = torch.load(os.path.join(folder, "net.pth"))["network"]
    os.remove(os.path.join(folder, "net.pth"))
    torch_train.train(params(folder, epochs=1), Events())
    torch_train.train(params(folder), Events())
    again = torch.load(os.path.join(folder, "net.pth"))["network"]
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    scores = [torch_search.score(params(folder), Events())["results"] for _ in range(2)]
    assert scores[0] == scores[1]
    assert [each["key"] for each in scores[0]] == ["0", "1"]
    assert all(each["reason"] is None and 0 <= each["score"] <= 1 and each["loss"] is None for each in scores[0])


def test_networks_go_on_from_the_shared_weights(project):
    given = params(project(), tuneBatches=6)
    torch_train.train(given, Events())
    both = torch_search.score(given, Events())["results"]
    second = torch_search.score(dict(given, networks=given["networks"][1:]), Events())["results"]
    assert both[1:] == second and all(each["reason"] is None and each["loss"] > 0 for each in both)
    twice = torch_search.score(dict(given, tuneSeeds=2), Events())["results"]
    for once, mean in zip(both, twice):
        assert mean["loss"] not in (None, once["loss"])
    assert averaged([(1.0, 4.0), (3.0, 2.0)]) == (2.0, 3.0) and averaged([(1.0, None)]) == (1.0, None)
    run = torch_run.Run(given)
    shared = run.supernet()
    shared.load_state_dict(torch.load(given["checkpoint"])["network"])
    shared.active = given["deck"][0]
    network = run.network(given["deck"][0])
    cut_out(network, shared)
    inputs, labels = (torch.stack(each) for each in zip(*points(32)))

    def loss():
        recalibrate(network, [inputs])
        return torch.nn.functional.cross_entropy(network(inputs), labels).item()

    before = loss()
    losses = run.tune(network, 20)
    assert loss() < before and len(losses) == 20
    assert abs(run.validation_loss(network) - loss()) < 1e-6


def test_networks_are_compared_by_the_loss_of_validation_where_it_takes_the_labels(project):
    refusing = USER.replace("return Points(COUNT)", "return Points(COUNT) if is_training else Boxes()") + textwrap.dedent('''
    class Boxes(Points):
        def __init__(self):
            super().__init__(COUNT)
        def __getitem__(self, index):
            return self.inputs[index], torch.zeros(3, 5)
    ''')
    refusing = refusing.replace("return sum((eval_function(x).argmax(1) == y).sum().item() for x, y in eval_dataloader) / COUNT", "return 1.0")
    told = []

    class Told(Events):
        def log(self, level, message):
            told.append((level, message))

    def losses(source):
        given = params(project(source=source), tuneBatches=6)
        torch_train.train(given, Events())
        return [each["loss"] for each in torch_search.score(given, Told())["results"]]

    taken, refused = losses(USER), losses(refusing)
    assert not set(taken) & set(refused) and all(loss > 0 for loss in taken + refused)
    assert [level for level, _ in told] == ["warning"] and "validation folder" in told[0][1]


def test_the_loss_to_compare_by_is_that_of_validation_or_of_the_last_half_of_training():
    def fails(error):
        def raises():
            raise error
        return raises

    held = Held(lambda error: "full" in str(error), lambda text: None)
    losses = [9.0, 9.0, 1.0, 2.0, 3.0]
    assert held.loss(lambda: 5.0, losses) == 5.0 and held.loss(lambda: 5.0, []) is None
    for error in (MemoryError(), RuntimeError("memory is full"), DoptError("NAS_LOSS", "nan")):
        with pytest.raises(type(error)):
            held.loss(fails(error), losses)
    with pytest.raises(ValueError, match="shapes"):
        held.loss(fails(ValueError("shapes")), losses)  # networks before it were compared by another loss
    other = Held(lambda error: False, lambda text: None)
    assert other.loss(fails(ValueError("shapes")), losses) == last_half(losses) == 2.0
    assert other.loss(lambda: 5.0, losses) == 2.0, "all networks alike"
    assert Held(lambda error: False, lambda text: None).loss(lambda: None, losses) == 2.0


def test_kinds_of_block_learn_to_give_alike_maps(project):
    """Weights of their own would else give each kind channels of a meaning of its own, and none could follow on all."""
    given = params(project(), epochs=25)
    torch_train.train(given, Events())
    network = torch_run.Run(given).supernet()
    network.load_state_dict(torch.load(given["checkpoint"])["network"])
    inputs = torch.stack([each for each, _ in points(16)])
    maps = []
    for layers in given["deck"]:
        network.active = layers
        recalibrate(network, [inputs])
        (outputs,), _ = network.observed(inputs)
        maps.append((outputs - outputs.mean((0, 2, 3), keepdim=True)).detach())
    alike = torch.nn.functional.cosine_similarity(maps[0].flatten(), maps[1].flatten(), 0)
    assert alike > 0.5


def points(count):
    return sys.modules["user_module"].Points(count)


def test_two_processes_train_together(project):
    given = params(project(), places=[None, None], epochs=1)
    first = torch_train.train(given, Events())
    assert first["epochs"] == 1 and first["loss"] is not None
    state = torch.load(given["checkpoint"])
    assert state["epoch"] == 1
    # Steps over all pictures, each process on half of a batch: after one epoch near to what one process finds.
    os.remove(given["checkpoint"]), os.remove(os.path.splitext(given["checkpoint"])[0] + ".guide.pth")
    torch_train.train(dict(given, places=[None]), Events())
    alone, together = torch.load(given["checkpoint"])["network"], state["network"]
    weights = [name for name in alone if name.endswith("weight") and alone[name].dim() == 4]
    assert all(torch.nn.functional.cosine_similarity(alone[name].flatten(), together[name].flatten(), 0) > 0.95 for name in weights)


def test_what_one_of_several_processes_raises_is_raised(tmp_path):
    fields = {"code": "NAS_DATASET", "message": "none", "kind": "user", "place": None, "suggestions": [], "found": None}
    (tmp_path / "failure.json").write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(DoptError) as caught:
        torch_parallel._outcome(str(tmp_path))
    assert caught.value.code == "NAS_DATASET"
    (tmp_path / "failure.json").unlink()
    (tmp_path / "log").write_text("Killed", encoding="utf-8")
    with pytest.raises(DoptError) as caught:
        torch_parallel._outcome(str(tmp_path))
    assert caught.value.code == "NAS_PROCESSES" and "Killed" in caught.value.found


def test_layers_begin_with_what_they_learned_of_other_pictures(project, tmp_path):
    from PIL import Image

    for name, value in (("dark", 20), ("light", 230)):
        (tmp_path / "classes" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (9, 7), (value + number,) * 3).save(str(tmp_path / "classes" / name / f"{number}.png"))
    first = params(project(), preTrainFolder=str(tmp_path / "classes"), epochs=1)
    torch_train.train(first, Events())
    own = torch.load(str(tmp_path / "pre-training" / "supernet.pth"))["network"]
    # The weights of that folder are where the next search begins, and one with other layers says so.
    network = torch_run.Run(first).supernet()
    torch_pretrain.load_layers(network, str(tmp_path / "pre-training" / "supernet.pth"))
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items() if not name.startswith("post_net"))
    other = torch_run.Run(dict(first, largest=[{"fused": layer("fused")}])).supernet()
    with pytest.raises(DoptError) as caught:
        torch_pretrain.load_layers(other, str(tmp_path / "pre-training" / "supernet.pth"))
    assert caught.value.code == "NAS_PRE_TRAIN"
    with pytest.raises(DoptError) as caught:
        torch_train.train(dict(first, preTrainFolder=str(tmp_path / "data")), Events())
    assert caught.value.code == "NAS_DATASET"


DETECTOR = USER.replace("self.inputs[index], self.labels[index]", "self.inputs[index], {'count': self.labels[index]}").replace(
    "eval_function(x).argmax(1) == y)", "eval_function(x)[1].argmax(1) == y['count'])").replace(
    "cross_entropy(logits, labels)", "cross_entropy(logits[0] + logits[1], labels['count'])").replace(
    "return self.head(inputs.mean((2, 3)))", "return [self.head(each.mean((2, 3))) for each in inputs]")


def test_detectors_give_lists_and_read_chosen_layers(project):
    layers = [layer("conv", hidden=0), layer("residual", before=16)]
    given = params(
        project(source=DETECTOR), application="object_detection", features=[0], guide=layers, deck=[layers],
        largest=[{each["block"]: each} for each in layers], networks=[candidate("0", layers)])
    torch_train.train(given, Events())
    for each in (given, dict(given, checkpoint=None)):
        (result,) = torch_search.score(each, Events())["results"]
        assert result["reason"] is None and 0 <= result["score"] <= 1


def test_a_network_alone_scores_the_same_whatever_was_scored_before_it(project):
    given = params(project(), checkpoint=None, epochs=1)
    both = torch_search.score(given, Events())["results"]
    second = torch_search.score(dict(given, networks=given["networks"][1:]), Events())["results"]
    assert both[1:] == second


def test_a_network_that_is_trained_on_is_what_it_would_be_trained_at_once(project, tmp_path):
    given = params(project(), checkpoint=None)
    layers, files = given["networks"][1]["layers"], [str(tmp_path / f"{at}.pth") for at in range(3)]
    score = lambda *parts: torch_search.score(dict(given, networks=[candidate("0", layers, parts)]), Events())  # noqa: E731
    at_once, whole = score((1, files[0]), (2, files[1])), torch.load(files[1])
    os.remove(files[1])
    assert score((1, files[0]), (2, files[1])) == at_once
    assert all(torch.equal(value, whole[name]) for name, value in torch.load(files[1]).items())
    # What is there is not trained again.
    before = os.stat(files[1]).st_mtime_ns
    assert score((1, files[2]), (2, files[1])) == at_once
    assert os.stat(files[1]).st_mtime_ns == before and not os.path.exists(files[2])


def test_a_network_begins_with_what_it_has_in_common_with_its_parent(project, tmp_path):
    given, file = params(project(), checkpoint=None), str(tmp_path / "parent.pth")
    theirs = [layer("mbconv", kernel=3), layer("conv", 16, 16, hidden=0), layer("residual", 16, 16)]
    ours = [layer("mbconv", kernel=5, hidden=24), layer("fused", 16, 16), layer("residual", 16, 16, kernel=3)]
    run = torch_run.Run(given)
    parent, network = run.network(theirs), run.network(ours)
    fresh = {name: value.clone() for name, value in network.state_dict().items()}
    torch.save(parent.state_dict(), file)
    inherit(network, ours, {"file": file, "layers": theirs})
    wide, narrow = (each.layers[0].body[1][0].weight for each in (network, parent))
    small, large = (each.layers[2].body[0][0].weight for each in (network, parent))
    assert torch.equal(wide[:16, :, 1:4, 1:4], narrow) and torch.equal(small, large[:, :, 1:4, 1:4])
    # What is new, and another kind of block, stays as it was made.
    assert torch.equal(wide[16:], fresh["layers.0.body.1.0.weight"][16:])
    assert torch.equal(network.layers[1].body[0][0].weight, fresh["layers.1.body.0.0.weight"])


def test_a_loss_that_is_no_number_is_told(project):
    folder = project(factor="nan")
    with pytest.raises(DoptError) as caught:
        torch_train.train(params(folder), Events())
    assert caught.value.code == "NAS_LOSS"
    results = torch_search.score(params(folder, checkpoint=None), Events())["results"]
    assert [each["reason"] for each in results] == ["not-a-number", "not-a-number"]


def test_memory_that_runs_out_is_a_reason_and_no_crash(project, monkeypatch):
    def full(*_):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(torch_search.Run, "fit", full)
    results = torch_search.score(params(project(), checkpoint=None), Events())["results"]
    assert [each["reason"] for each in results] == ["out-of-memory", "out-of-memory"]


def test_what_user_module_lacks_is_named_with_a_skeleton(project):
    with pytest.raises(DoptError) as caught:
        torch_user.load(project(source=USER.replace("def metrics_func", "def metric")))
    assert caught.value.code == "NAS_USER_MODULE"
    assert "UserModule.metrics_func" in caught.value.message
    assert "def metrics_func(self, eval_dataloader, eval_function)" in caught.value.suggestions[0]


def test_an_empty_dataset_is_named(project):
    with pytest.raises(DoptError) as caught:
        torch_train.train(params(project(count=0)), Events())
    assert caught.value.code == "NAS_DATASET"


def test_fixed_parts_are_described(project, tmp_path):
    given = {"folder": project(), "inputShape": [8, 8, 3], "filters": [16], "strides": [2], "features": [], "out": str(tmp_path)}
    described = torch_search.describe(given, Events())
    assert (described["channels"], described["height"], described["width"]) == (8, 8, 8)
    assert os.path.getsize(described["pre"]) > 0
    with pytest.raises(DoptError) as caught:
        torch_search.describe(dict(given, filters=[24]), Events())
    assert caught.value.code == "NAS_NETWORK"
    assert "[1, 24, 4, 4]" in caught.value.message
    json.dumps(described)


def test_networks_train_and_score_on_the_device_as_on_the_processor(project, gpu):
    given = params(project(), tuneBatches=2)
    found = []
    for place in (None, gpu):
        on = dict(given, gpu=place, places=[place], checkpoint=given["checkpoint"] + str(place))
        loss = torch_train.train(on, Events())["loss"]
        alone = dict(on, checkpoint=None, tuneBatches=0)
        scores = [each["score"] for one in (on, alone) for each in torch_search.score(one, Events())["results"]]
        found.append((loss, scores))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-3)
    assert found[1][1] == pytest.approx(found[0][1], abs=0.07)
    # Weights of a GPU go on where there is none.
    torch_train.train(dict(given, epochs=3, checkpoint=given["checkpoint"] + str(gpu)), Events())


def test_a_gpu_that_is_not_there_is_refused_with_a_reason(project):
    with pytest.raises(DoptError) as caught:
        torch_run.Run(params(project(), gpu=99))
    assert caught.value.code == "GPU_UNAVAILABLE"
