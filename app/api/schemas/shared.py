"""What the bodies of several rooms have in common. What is created: `app.store.entries`."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, Field, StringConstraints

from app.store.entries import Body

T = TypeVar("T")
FilterWord = Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00]*$")]


class Listed(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = Field(description="Cursor of the next page; null on the last.")


Reason = Annotated[str, StringConstraints(min_length=3, max_length=1000, pattern=r"^[^\x00]*$", strip_whitespace=True)]


class Revocation(Body):
    reason: Reason
