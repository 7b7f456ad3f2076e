"""Which neural network fits my hardware? Exact, zero-shot architecture search around NN-Mass.

Local functions work without a service: `search`, `compress`, `evaluate`, `calibrate`, `export`, `diagram`. `Client`
speaks to one, and answers in the same types. What is named here is loaded when it is first used.

>>> import nnmass
>>> answer = nnmass.search("densenet-cifar", max_params="1M", max_macs="150M")
>>> print(answer)
The best of 17,836,014 architectures, proved in 131 ms.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nnmass_core import __version__

if TYPE_CHECKING:
    from nnmass.client import Client
    from nnmass.errors import (
        DefinitionError,
        InvalidRequest,
        NnmassError,
        NotFound,
        NotPossible,
        Problem,
        SearchFailed,
        ServiceError,
        ServiceUnreachable,
        TimedOut,
        TooManyRequests,
        Unauthorized,
        WrongState,
    )
    from nnmass.local import compress, devices, diagram, evaluate, export, next_ranks, scale, search, space, spaces
    from nnmass.measurements import calibrate
    from nnmass.neighborhood import space_around
    from nnmass.results import (
        Answer,
        Architecture,
        Architectures,
        Certificate,
        Comparison,
        Event,
        Failure,
        NamedDevice,
        NamedSpace,
        Progress,
        Search,
    )
    from nnmass.trainings import (
        Accuracy,
        Batch,
        Campaign,
        CampaignResult,
        CampaignTraining,
        Evidence,
        KnownArchitecture,
        OwnPoint,
        Readiness,
        TrainingResult,
        Verification,
    )

PLACES = {
    "nnmass.measurements": ("calibrate",),
    "nnmass.neighborhood": ("space_around",),
    "nnmass.client": ("Client",),
    "nnmass.errors": (
        *("DefinitionError", "InvalidRequest", "NnmassError", "NotFound", "NotPossible", "Problem", "SearchFailed"),
        *("ServiceError", "ServiceUnreachable", "TimedOut", "TooManyRequests", "Unauthorized", "WrongState"),
    ),
    "nnmass.local": (
        *("compress", "devices", "diagram", "evaluate", "export", "next_ranks", "scale", "search", "space", "spaces"),
    ),
    "nnmass.results": (
        *("Answer", "Architecture", "Architectures", "Certificate", "Comparison", "Event", "Failure", "NamedDevice"),
        *("NamedSpace", "Progress", "Search"),
    ),
    "nnmass.trainings": (
        *("Accuracy", "Batch", "Campaign", "CampaignResult", "CampaignTraining", "Evidence", "KnownArchitecture"),
        *("OwnPoint", "Readiness", "TrainingResult", "Verification"),
    ),
}
PLACE = {name: module for module, names in PLACES.items() for name in names}

__all__ = [
    "Accuracy",
    "Answer",
    "Architecture",
    "Architectures",
    "Batch",
    "Campaign",
    "CampaignResult",
    "CampaignTraining",
    "Certificate",
    "Client",
    "Comparison",
    "DefinitionError",
    "Event",
    "Evidence",
    "Failure",
    "InvalidRequest",
    "KnownArchitecture",
    "NamedDevice",
    "NamedSpace",
    "NnmassError",
    "NotFound",
    "NotPossible",
    "OwnPoint",
    "Problem",
    "Progress",
    "Readiness",
    "Search",
    "SearchFailed",
    "ServiceError",
    "ServiceUnreachable",
    "TimedOut",
    "TooManyRequests",
    "TrainingResult",
    "Unauthorized",
    "Verification",
    "WrongState",
    "__version__",
    "calibrate",
    "compress",
    "devices",
    "diagram",
    "evaluate",
    "export",
    "next_ranks",
    "scale",
    "search",
    "space",
    "space_around",
    "spaces",
]


def __getattr__(name: str) -> Any:
    """Load a public name on its first use (PEP 562), so that `import nnmass` is fast."""
    if name not in PLACE:
        raise AttributeError(f"module 'nnmass' has no attribute {name!r}")
    value = getattr(import_module(PLACE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
