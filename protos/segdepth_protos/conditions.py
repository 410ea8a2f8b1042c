"""How a frame was taken, as a model measures it on the frame's own columns: the same for those who tell and who ask."""

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
        parts = (message.contrast, message.vibration_angstrom, message.defocus_angstrom)
        return cls(*(Measured(one.value, one.error) for one in parts))

    def message(self) -> frame_pb2.Conditions:
        """To the wire."""
        parts = (self.contrast, self.vibration_A, self.defocus_A)
        contrast, vibration, defocus = (frame_pb2.Measured(value=one.value, error=one.error) for one in parts)
        return frame_pb2.Conditions(contrast=contrast, vibration_angstrom=vibration, defocus_angstrom=defocus)

    def fields(self) -> dict[str, dict[str, float]]:
        """Value and error of each by its name."""
        return asdict(self)

    def numbers(self) -> tuple[float, ...]:
        """Value and error of each, one after the other."""
        return tuple(number for one in self.fields().values() for number in one.values())

    def __str__(self) -> str:
        contrast, vibration, defocus = self.contrast, self.vibration_A, self.defocus_A
        return (
            f"contrast {contrast.value:.2f} ± {contrast.error:.2f}, vibration {vibration.value:.2f} ±"
            f" {vibration.error:.2f} Å, defocus {defocus.value:.0f} ± {defocus.error:.0f} Å"
        )
