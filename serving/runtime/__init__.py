"""The inference runtime: a KServe model server over ONNX Runtime.

A request flows through `http1` or `http2` (connections) → `rest` or `rpc` (what is asked) → `json_codec` or
`proto_codec` (bytes to arrays) → `version` → `features` (only where it carries ids) → `batching` → `model` → `log` →
back. Connections know no protocol of inference, and the queues no connection: an answer is handed to the job.
"""
