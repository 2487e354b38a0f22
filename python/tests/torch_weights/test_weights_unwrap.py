"""Where a checkpoint keeps its weights, and how they come into a network."""

from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch (profile torch or current)")

from craft import save  # noqa: E402

from dopt.doors.torch.checkpoint import load_checkpoint  # noqa: E402
from dopt.doors.torch.keys import load_into  # noqa: E402
from dopt.doors.torch.unwrap import WRAPPERS, find_state  # noqa: E402
from dopt.errors import DoptError  # noqa: E402

W = {"a.weight": torch.ones(2), "a.bias": torch.zeros(2)}
V = {"a.weight": torch.zeros(2), "a.bias": torch.zeros(2)}
OPTIMIZER = {"state": {0: {"step": torch.ones(1), "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


@pytest.mark.parametrize("key", WRAPPERS)
@pytest.mark.parametrize("inner", [None, *WRAPPERS])
def test_wrappers(key, inner):
    weights = W if inner is None else {inner: W, "epoch": 3}
    found = find_state({"optimizer": OPTIMIZER, key: weights, "epoch": 1})
    assert found.state == W and found.notes == []


def test_plain():
    assert find_state(OrderedDict(W)).state == W


@pytest.mark.parametrize("first,second", list(zip(WRAPPERS, WRAPPERS[1:])))
def test_the_first_is_taken_and_told(first, second):
    found = find_state({second: V, first: W})
    assert found.state is not None and found.state["a.weight"] is W["a.weight"]
    assert found.notes == [f"It has {first!r} and {second!r}; {first!r} was taken."]


def test_another_name_when_it_is_the_only_one():
    found = find_state({"generator": W, "epoch": 1})
    assert found.state == W and "'generator'" in found.notes[0]
    found = find_state({"generator": W, "discriminator": V})
    assert found.state == {} and "generator, discriminator" in found.notes[0]


def test_an_optimizer_alone_is_none():
    assert find_state({"optimizer": OPTIMIZER}).state == {}
    assert find_state(OPTIMIZER).state == {}


def test_entries_beside_tensors():
    found = find_state({**W, "version": 3})
    assert found.state == W and "version" in found.notes[0]
    # A network may have tensors under a name that is usually a wrapper's.
    assert find_state({"weights": torch.ones(1)}).state.keys() == {"weights"}


@pytest.mark.parametrize("value", [None, 3, [], {}, [W], torch.ones(1), {"state_dict": None}, {"model": {"model": {"model": W}}}])
def test_none(value):
    assert find_state(value).state == {}


def test_notes_name_the_file(tmp_path):
    path = save({"model": W, "ema": V}, tmp_path / "w.pth")
    assert load_checkpoint(path).notes == [f"{path}: It has 'model' and 'ema'; 'model' was taken."]


class Block(torch.nn.Module):
    def __init__(self, blocks=2, width=4, classes=3, bias=True):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Conv2d(width, width, 1, bias=bias), torch.nn.BatchNorm2d(width)) for _ in range(blocks)
        )
        self.head = torch.nn.Linear(width, classes)


class Holder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = Block()


def equal(network, state):
    return all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.model."])
def test_prefixes(prefix):
    torch.manual_seed(2)
    state = Block().state_dict()
    renamed = OrderedDict((prefix + name, tensor) for name, tensor in state.items())
    network = Block()
    notes = load_into(network, renamed, "w.pth")
    assert equal(network, state)
    assert notes == ([f"w.pth: the prefix '{prefix}' of all names was taken off."] if prefix else [])


def test_a_prefix_that_belongs_to_the_network_stays():
    state = Holder().state_dict()
    assert load_into(Holder(), state, "w.pth") == []
    notes = load_into(Holder(), {f"module.{name}": tensor for name, tensor in state.items()}, "w.pth")
    assert "'module.'" in notes[0]


def test_a_prefix_of_some_names_is_a_mismatch():
    state = {(f"module.{name}" if "head" in name else name): tensor for name, tensor in Block().state_dict().items()}
    with pytest.raises(DoptError) as caught:
        load_into(Block(), state, "w.pth")
    assert "head.weight (near: module.head.weight)" in caught.value.message


def test_module_versions_follow_the_prefix():
    """Without them BatchNorm takes the weights for those of an old version; nothing else tells that it has counters."""
    seen = []

    class Watch(torch.nn.Linear):
        _version = 5

        def _load_from_state_dict(self, state, prefix, metadata, *rest):
            seen.append(metadata.get("version"))
            super()._load_from_state_dict(state, prefix, metadata, *rest)

    state = torch.nn.DataParallel(torch.nn.Sequential(Watch(1, 1))).state_dict()
    load_into(torch.nn.Sequential(Watch(1, 1)), state, "w.pth")
    assert seen == [5]


def test_counters_may_be_absent():
    state = {name: tensor for name, tensor in Block().state_dict().items() if "num_batches" not in name}
    notes = load_into(Block(), state, "w.pth")
    assert "num_batches_tracked (2 counters" in notes[0]


def test_types():
    state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in Block().state_dict().items()}
    network = Block()
    notes = load_into(network, state, "w.pth")
    assert notes == ["w.pth: 14 tensors of float16 were converted to float32."]
    assert network.head.weight.dtype == torch.float32 and torch.equal(network.head.weight, state["head.weight"].float())
    state["head.bias"] = torch.zeros(3, dtype=torch.complex64)
    with pytest.raises(DoptError) as caught:
        load_into(Block(), state, "w.pth")
    assert "head.bias is complex64 in the file and float32 in the network" in caught.value.message


def mismatch(network, state):
    with pytest.raises(DoptError) as caught:
        load_into(network, state, "some/w.pth")
    error = caught.value
    assert error.code == "WEIGHTS_MISMATCH" and error.kind == "user" and error.place == "some/w.pth"
    assert "some/w.pth" in error.message and "Block" in error.message
    return error


def test_depth():
    error = mismatch(Block(blocks=2), Block(blocks=5).state_dict())
    assert "21 in the file do not belong to it" in error.message and "and 11 more" in error.message
    assert error.suggestions[0] == "Another variant is likely (its depth): layers.* has 5 in the file and 2 in the network."
    assert "18 of its 37 weights are missing" in mismatch(Block(blocks=5), Block(blocks=2).state_dict()).message


def test_width_and_classes():
    error = mismatch(Block(), Block(width=8).state_dict())
    assert "layers.0.1.weight is [8] in the file and [4] in the network" in error.message
    assert "another width" in error.suggestions[0]
    error = mismatch(Block(), Block(classes=10).state_dict())
    assert "2 have another shape" in error.message and "number of outputs" in error.suggestions[0]


def test_another_class():
    error = mismatch(Block(), {"features.0.weight": torch.ones(1)})
    assert "no name in common" in error.suggestions[0]
    error = mismatch(Block(), {f"backbone.{name}": tensor for name, tensor in Block().state_dict().items()})
    assert "'backbone.'" in error.suggestions[0]


def test_near_matches():
    state = Block().state_dict()
    state["head.wieght"] = state.pop("head.weight")
    assert "head.weight (near: head.wieght)" in mismatch(Block(), state).message


def test_a_network_that_renames_its_old_names():
    class Renaming(Block):
        def _load_from_state_dict(self, state, prefix, *rest):
            if "fc.weight" in state:
                state["head.weight"] = state.pop("fc.weight")
            super()._load_from_state_dict(state, prefix, *rest)

    state = Block().state_dict()
    state["fc.weight"] = state.pop("head.weight")
    network = Renaming()
    notes = load_into(network, state, "w.pth")
    assert torch.equal(network.head.weight, state["fc.weight"]) and "renamed" in notes[0]


def test_extra_state_of_modules():
    class Extra(Block):
        def get_extra_state(self):
            return {"mode": 1}

        def set_extra_state(self, state):
            assert state == {"mode": 1}

    state = {name: value for name, value in Extra().state_dict().items() if isinstance(value, torch.Tensor)}
    assert "_extra_state" in load_into(Extra(), state, "w.pth")[0]
