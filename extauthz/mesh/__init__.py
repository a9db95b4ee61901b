"""What users have in their mesh: import of Istio's policies."""

from extauthz.mesh.importing import ImportDefectError, Imported, ImportOptions, import_istio
from extauthz.mesh.report import ALWAYS, Change

__all__ = ["ALWAYS", "Change", "ImportDefectError", "ImportOptions", "Imported", "import_istio"]
