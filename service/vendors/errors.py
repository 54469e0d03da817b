"""Why a vendor gave no prices, and what a user can do about it."""

from __future__ import annotations

from service.contract.errors import UserError
from service.contract.status import Reason


class VendorFailed(UserError):
    """Prices did not come; the message says why and what to do."""

    code = str(Reason.VENDOR_FAILED)


class TryAgain(VendorFailed):
    """The vendor cannot be reached, breaks off, or refuses more requests: later it may answer."""


class NothingThere(VendorFailed):
    """The vendor answers, and has no prices of the ticker on these days."""

    code = str(Reason.NO_DATA)
