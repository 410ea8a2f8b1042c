"""How a frame was taken, as the model measures it on the frame's own columns."""

from dataclasses import asdict, dataclass

from segdepth_protos.v1 import frame_pb2


@dataclass(frozen=True)
class Measured:
    """A value and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Conditions:
    """Of one frame. The model assumes nothing of the instrument when it measures them, whatever it counts with."""

    contrast: Measured
    """Times what a simulation without inelastic scattering predicts."""
    vibration_A: Measured
    """Blur of the specimen's image, standard deviation."""
    defocus_A: Measured
    """From the specimen's lowest atom; overfocus is positive."""

    @classmethod
    def from_message(cls, message: frame_pb2.Conditions) -> "Conditions":
        """From the wire."""

        def measured(one: frame_pb2.Measured) -> Measured:
            return Measured(one.value, one.error)

        return cls(measured(message.contrast), measured(message.vibration_angstrom), measured(message.defocus_angstrom))

    def fields(self) -> dict[str, dict[str, float]]:
        """Value and error of each by its name."""
        return asdict(self)

    def __str__(self) -> str:
        contrast, vibration, defocus = self.contrast, self.vibration_A, self.defocus_A
        return (
            f"contrast {contrast.value:.2f} ± {contrast.error:.2f}, vibration {vibration.value:.2f} ±"
            f" {vibration.error:.2f} Å, defocus {defocus.value:.0f} ± {defocus.error:.0f} Å"
        )
