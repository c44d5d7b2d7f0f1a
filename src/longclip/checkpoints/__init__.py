"""Checkpoints of CLIPs: read in any format, written in any."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.checkpoints.catalogue import KnownModel as KnownModel
    from longclip.checkpoints.catalogue import known_models as known_models
    from longclip.checkpoints.checkpoint import Checkpoint as Checkpoint
    from longclip.checkpoints.checkpoint import lone_tower as lone_tower
    from longclip.checkpoints.open import open_checkpoint as open_checkpoint
    from longclip.errors import CheckpointError as CheckpointError
    from longclip.spec import Activation as Activation
    from longclip.spec import Tower as Tower

export_lazily(__name__)
