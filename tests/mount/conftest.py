"""A Vfs on the fake engine."""

from __future__ import annotations

import pytest
from mountfakes import Shown, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def shown(world: World) -> Shown:
    return Shown(world)
