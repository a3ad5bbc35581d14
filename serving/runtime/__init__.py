"""The inference runtime: a KServe model server over ONNX Runtime.

A request flows through `rest` or `rpc` (transports) → `codec` (bytes to arrays) → `plane` → `features` (only
where it carries ids) → `batching` → `model` → `log` → back. Transports know no model and the plane knows no
transport: an answer is handed to a callback.
"""
