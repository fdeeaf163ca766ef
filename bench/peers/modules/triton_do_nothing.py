"""What Triton's Python backend serves in do_nothing.py: what is sent comes back."""

import triton_python_backend_utils as triton


class TritonPythonModel:
    """A model that costs nothing."""

    def execute(self, requests):
        """Return VALUES float32 (1, 16) of each request as RESULT."""
        return [triton.InferenceResponse([triton.Tensor("RESULT", self._values(request))]) for request in requests]

    def _values(self, request):
        return triton.get_input_tensor_by_name(request, "VALUES").as_numpy()
