"""What MLServer serves in tensors.py: what is sent comes back."""

from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput


class DoNothing(MLModel):
    """A runtime that costs nothing."""

    async def load(self):
        """Load nothing."""
        return True

    async def predict(self, payload):
        """Return the first input as RESULT."""
        sent = payload.inputs[0]
        result = ResponseOutput(name="RESULT", shape=sent.shape, datatype=sent.datatype, data=sent.data)
        return InferenceResponse(model_name=self.name, outputs=[result])
