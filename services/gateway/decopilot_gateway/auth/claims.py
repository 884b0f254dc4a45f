"""The claims map: which claims of a token name the user, the orgs, and the role in each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from decopilot.contracts.commands import Role
from decopilot.contracts.ids import OrgId, User, UserId, is_id
from decopilot.domain.access import AUTOMATION

_USER: TypeAdapter[UserId] = TypeAdapter(User)
_ORG_SHOWN = 100
_OUR_ROLES: dict[str, Role] = {"owner": "owner", "member": "member", "viewer": "viewer", "service": "service"}
_RANKS: tuple[Role, ...] = ("viewer", "member", "service", "owner")


log = structlog.get_logger()


class ClaimError(ValueError):
    """A claim is not there, or says nothing that is of use here: a stable reason, and the sentence for the caller."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class ClaimsMap:
    """Dotted paths of claims, and what the issuer's names of roles mean; without a map they are ours."""

    user: str = "sub"
    orgs: str = "orgs"
    role: str = ""
    default_role: Role | None = None
    roles: Mapping[str, Role] = field(default_factory=dict)

    def user_in(self, claims: Mapping[str, Any]) -> UserId:
        """Tell who the user is.

        Raises:
            ClaimError: the claim is not there, or is no user.

        """
        said = _found(claims, self.user)
        if said is None:
            raise _missing("user", self.user)
        try:
            user = _USER.validate_python(said, strict=True)
        except ValidationError as error:
            detail = f"The token's claim `{self.user}` is no user: a text of 1 to 256 characters."
            raise ClaimError("bad_user", detail) from error
        if user.startswith(AUTOMATION):
            raise ClaimError("bad_user", f"The token's claim `{self.user}` is the name of an automation.")
        return user

    def orgs_in(self, claims: Mapping[str, Any]) -> dict[OrgId, Role]:
        """Tell the user's role in each org; what is no id of an org is left out, for nobody can ask for it.

        Raises:
            ClaimError: the claim is not there, or names none but those; or a role is not known.

        """
        said = _found(claims, self.orgs)
        if said is None:
            raise _missing("orgs", self.orgs)
        if isinstance(said, dict):
            return {org: self._role(said[org]) for org in self._ids([*said])}
        orgs = self._ids(said if isinstance(said, list) else [said])
        named = _found(claims, self.role) if self.role else None
        return dict.fromkeys(orgs, self._role(named)) if orgs else {}

    def _ids(self, said: list[Any]) -> list[OrgId]:
        if not all(isinstance(org, str) for org in said):
            detail = f"The token's claim `{self.orgs}` is no object of org and role, no list of orgs and no org."
            raise ClaimError("bad_orgs", detail)
        found = [OrgId(org) for org in said if is_id(org)]
        if said and not found:
            detail = f"The token's claim `{self.orgs}` has no org of 1 to 64 of A-Z, a-z, 0-9, _ and -."
            raise ClaimError("bad_orgs", detail)
        for org in said:
            if not is_id(org):
                log.debug("org_passed_over", org=org[:_ORG_SHOWN], claim=self.orgs)
        return found

    def _role(self, named: object) -> Role:
        names = named if isinstance(named, list) else [named]
        meanings = self.roles or _OUR_ROLES
        # Of a list of roles those count that mean something here: issuers add others of their own.
        found = [meanings[name] for name in names if isinstance(name, str) and name in meanings]
        if found:
            return max(found, key=_RANKS.index)
        if named in (None, []) and self.default_role is not None:
            return self.default_role
        raise ClaimError("unknown_role", "The token names no role that is known here.")


def _missing(what: str, path: str) -> ClaimError:
    return ClaimError(f"no_{what}", f"The token has no claim `{path}`.")


def _found(claims: object, path: str) -> object:
    """Follow a path; a name may have dots itself, as those that are URLs do, and the longest one counts."""
    if not isinstance(claims, dict):
        return None
    if path in claims:
        return claims[path]
    at = path.rfind(".")
    while at > 0:
        if path[:at] in claims:
            return _found(claims[path[:at]], path[at + 1 :])
        at = path.rfind(".", 0, at)
    return None
