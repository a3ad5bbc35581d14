"""One ONNX graph from raw columns to what a request is answered with."""

import logging

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper, numpy_helper

from components.modelling.matrix import FEATURES, TEXT_FEATURES, numeric_features, text_features
from components.modelling.network import Network
from components.modelling.saved import OPSETS
from core.contract import DataContract, Task

IR_VERSION = 10
"""What the operator sets were released with; runtimes refuse a newer one than they know."""
MATRIX = "matrix"
SCORE = "score"


def assemble(contract: DataContract, model: Network | onnx.ModelProto) -> onnx.ModelProto:
    """Preprocessing, the model and the outputs of its task, joined and checked.

    Args:
        model: As `components.modelling.saved.load` gives it.

    Returns:
        Inputs and outputs as `core.model_spec.ModelSpec` describes them; the batch is dynamic.
    """
    columns = len(contract.features)
    scorer = _from_network(model, columns) if isinstance(model, Network) else _from_trees(contract, model)
    graph = compose.merge_models(
        _preprocessing(contract), _prefixed(scorer, "model."), io_map=[(MATRIX, f"model.{scorer.graph.input[0].name}")]
    )
    graph = compose.merge_models(graph, _outputs(contract.task), io_map=[(f"model.{SCORE}", SCORE)])
    graph.producer_name = "falaj"
    # Each of the parts brought them along.
    _set_opsets(graph)
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    initializers: list[onnx.TensorProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "falaj", inputs, outputs, initializers)
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _float(name: str, *shape: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _preprocessing(contract: DataContract) -> onnx.ModelProto:
    """The raw tensors to `matrix`, as `components.modelling.matrix.matrix` makes it."""
    numeric, text = numeric_features(contract), text_features(contract)
    if not text:
        return _model(
            [helper.make_node("Identity", [FEATURES], [MATRIX])],
            [_float(FEATURES, "batch", len(numeric))],
            [_float(MATRIX, "batch", len(numeric))],
        )
    nodes, initializers, inputs, blocks = [], [], [], []
    if numeric:
        inputs.append(_float(FEATURES, "batch", len(numeric)))
        blocks.append(FEATURES)
    inputs.append(helper.make_tensor_value_info(TEXT_FEATURES, TensorProto.STRING, ("batch", len(text))))
    for index, values in enumerate(text.values()):
        initializers.append(numpy_helper.from_array(np.asarray([index]), f"column_{index}"))
        nodes += [
            helper.make_node("Gather", [TEXT_FEATURES, f"column_{index}"], [f"text_{index}"], axis=1),
            helper.make_node(
                "LabelEncoder",
                [f"text_{index}"],
                [f"position_{index}"],
                domain="ai.onnx.ml",
                keys_strings=list(values),
                values_floats=[float(position) for position in range(len(values))],
                default_float=float("nan"),
            ),
        ]
        blocks.append(f"position_{index}")
    nodes.append(helper.make_node("Concat", blocks, [MATRIX], axis=1))
    return _model(nodes, inputs, [_float(MATRIX, "batch", len(numeric) + len(text))], initializers)


def _from_network(network: Network, columns: int) -> onnx.ModelProto:
    """`x` (batch, columns) to `score` (batch)."""
    # It warns at length of operators of torchvision, which nothing here uses.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    program = torch.onnx.export(
        network.eval(),
        (torch.zeros(2, columns),),
        input_names=["x"],
        output_names=[SCORE],
        opset_version=OPSETS[""],
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    return _stripped(program.model_proto)


def _stripped(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the exporter's notes, which hold the paths of this machine, and in our operator sets."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    model.graph.doc_string = ""
    _set_opsets(model)
    model.ir_version = IR_VERSION
    return model


def _set_opsets(model: onnx.ModelProto) -> None:
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in OPSETS.items())


def _from_trees(contract: DataContract, trees: onnx.ModelProto) -> onnx.ModelProto:
    """The baseline's graph with one more output, `score` (batch): of a classifier the second probability."""
    model = onnx.ModelProto()
    model.CopyFrom(trees)
    if contract.task is Task.REGRESSION:
        position, axis = numpy_helper.from_array(np.asarray([1]), "axes"), "axes"
        last = model.graph.output[0].name
        model.graph.node.append(helper.make_node("Squeeze", [last, axis], [SCORE]))
    else:
        position = numpy_helper.from_array(np.asarray(1), "positive")
        last = model.graph.output[1].name
        model.graph.node.append(helper.make_node("Gather", [last, "positive"], [SCORE], axis=1))
    model.graph.initializer.append(position)
    del model.graph.output[:]
    model.graph.output.append(_float(SCORE, "batch"))
    return _stripped(model)


def _prefixed(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    prefixed: onnx.ModelProto = compose.add_prefix(model, prefix)
    return prefixed


def _outputs(task: Task) -> onnx.ModelProto:
    if task is Task.REGRESSION:
        return _model(
            [helper.make_node("Identity", [SCORE], ["prediction"])],
            [_float(SCORE, "batch")],
            [_float("prediction", "batch")],
        )
    return _model(
        [
            helper.make_node("Identity", [SCORE], ["probability"]),
            helper.make_node("Greater", [SCORE, "half"], ["above"]),
            helper.make_node("Cast", ["above"], ["label"], to=TensorProto.INT64),
        ],
        [_float(SCORE, "batch")],
        [_float("probability", "batch"), helper.make_tensor_value_info("label", TensorProto.INT64, ("batch",))],
        [numpy_helper.from_array(np.asarray(0.5, dtype=np.float32), "half")],
    )
