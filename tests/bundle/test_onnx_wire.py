"""Models are made with the onnx package, so that the reader here is judged by another."""

import contextlib

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fsr_deploy.bundle.onnx_wire import MAX_DEPTH, free_sizes, has_external_data, read_metadata


def tensor(external: bool) -> TensorProto:
    made = numpy_helper.from_array(np.arange(6, dtype=np.float32), "weights")
    if external:
        onnx.external_data_helper.set_external_data(made, "weights.bin")
    return made


def graph(*nodes: NodeProto, **fields) -> GraphProto:
    return GraphProto(node=nodes, **fields)


def node(**attributes) -> NodeProto:
    return helper.make_node("Op", [], [], **attributes)


def sparse(values: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=values, dims=[6])


PLACES = {
    "an initializer": lambda t: ModelProto(graph=graph(initializer=[t])),
    "a sparse initializer": lambda t: ModelProto(graph=graph(sparse_initializer=[sparse(t)])),
    "a constant": lambda t: ModelProto(graph=graph(node(value=t))),
    "a list of constants": lambda t: ModelProto(graph=graph(node(values=[t, t]))),
    "a sparse constant": lambda t: ModelProto(graph=graph(node(value=sparse(t)))),
    "a branch": lambda t: ModelProto(graph=graph(node(then_branch=graph(initializer=[t])))),
    "a branch of a branch": lambda t: ModelProto(graph=graph(node(a=graph(node(b=[graph(initializer=[t])]))))),
    "a function": lambda t: ModelProto(functions=[onnx.FunctionProto(node=[node(value=t)])]),
    "a function's default": lambda t: ModelProto(
        functions=[onnx.FunctionProto(attribute_proto=[AttributeProto(name="a", type=AttributeProto.TENSOR, t=t)])]
    ),
    "the training graph": lambda t: ModelProto(
        training_info=[onnx.TrainingInfoProto(initialization=graph(initializer=[t]))]
    ),
}


@pytest.mark.parametrize("place", list(PLACES))
def test_external_data_is_found_wherever_a_tensor_can_be(place: str):
    assert has_external_data(PLACES[place](tensor(external=True)).SerializeToString())
    assert not has_external_data(PLACES[place](tensor(external=False)).SerializeToString())


@pytest.mark.parametrize("field", ["location only", "entries only"])
def test_either_sign_of_external_data_is_enough(field: str):
    made = tensor(external=True)
    made.ClearField("external_data" if field == "location only" else "data_location")
    assert has_external_data(PLACES["an initializer"](made).SerializeToString())


@given(st.binary(max_size=200))
def test_any_bytes_are_answered_or_refused(content: bytes):
    with contextlib.suppress(ValueError):
        assert has_external_data(content) in (True, False)


@given(st.data())
def test_a_damaged_model_is_answered_or_refused(data):
    content = bytearray(PLACES["a branch of a branch"](tensor(external=True)).SerializeToString())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        assert has_external_data(bytes(content)) in (True, False)


def field(number: int, body: bytes) -> bytes:
    length = bytes([len(body) & 0x7F | 0x80, len(body) >> 7 & 0x7F | 0x80, len(body) >> 14])
    return bytes([number << 3 | 2]) + length + body


def test_endless_nesting_is_refused():
    content = b""
    for _ in range(MAX_DEPTH):
        content = field(1, field(5, field(6, content)))
    with pytest.raises(ValueError, match="nested too deeply"):
        has_external_data(field(7, content))


@pytest.mark.parametrize(
    "location",
    [
        pytest.param(b"\x70\x01", id="as written"),
        pytest.param(b"\x70\x81\x80\x80\x80\x10", id="a number that is 1 once cut to 32 bits"),
    ],
)
def test_the_location_cannot_be_hidden_from_one_reader_and_shown_to_another(location: bytes):
    assert has_external_data(field(7, field(5, location)))


def test_a_field_number_that_is_another_once_cut_to_32_bits_is_refused():
    with pytest.raises(ValueError, match="field number"):
        has_external_data(field(7, field(5, b"\xf0\x80\x80\x80\x10\x01")))


def test_the_metadata_of_a_model_is_read() -> None:
    model = ModelProto(graph=graph(node()))
    assert read_metadata(model.SerializeToString()) == {}
    facts = {"fsr.precision": "int8+fp16", "empty": "", "größe": "ß"}
    helper.set_model_props(model, facts)
    assert read_metadata(model.SerializeToString()) == facts


def test_sizes_that_a_file_fixes_can_be_freed():
    """Of pictures only, and neither channels nor weights that are listed as inputs."""
    weight = numpy_helper.from_array(np.zeros((5, 3, 1, 1), np.float32), "weight")
    picture, other, listed, middle, result = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (
            ("picture", [10, 3, 32, 32]),
            ("other", [7, 8]),
            ("weight", [5, 3, 1, 1]),
            ("middle", [10, 5, 32, 32]),
            ("result", [10, 5, 32, 32]),
        )
    )
    nodes = [helper.make_node("Conv", ["picture", "weight"], ["result"])]
    made = helper.make_model(
        helper.make_graph(nodes, "g", [picture, other, listed], [result], [weight], value_info=[middle])
    )
    helper.set_model_props(made, {"a": "b"})
    freed = onnx.load_from_string(free_sizes(made.SerializeToString()))
    sizes = [[size.dim_value for size in value.type.tensor_type.shape.dim] for value in freed.graph.input]
    assert sizes == [[0, 3, 0, 0], [7, 8], [5, 3, 1, 1]]
    assert not freed.graph.output[0].type.tensor_type.HasField("shape") and not freed.graph.value_info
    assert freed.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    for one in (freed, made):
        del one.graph.input[:], one.graph.output[:], one.graph.value_info[:]
    assert freed == made


@given(st.binary(max_size=60))
def test_sizes_of_any_bytes_are_freed_or_refused(content: bytes):
    with contextlib.suppress(ValueError):
        free_sizes(content)
