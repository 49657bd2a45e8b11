"""What pyfuse3's loop waits with: one at a time, nobody forgotten, nobody kept from having a turn."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from kacheryfs.mount.turnstile import MAX_AT_ONCE, EagerTrio, Turnstile


async def test_one_at_a_time_and_everybody_in_the_end() -> None:
    turnstile, inside, passed = Turnstile(), 0, 0

    async def pass_through() -> None:
        nonlocal inside, passed
        for _ in range(20):
            async with turnstile:
                inside += 1
                assert inside == 1
                await trio.lowlevel.checkpoint()
                inside -= 1
            passed += 1

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(pass_through)
    assert passed == 200


async def test_who_lets_go_may_take_it_again_at_once_and_then_lets_another_in() -> None:
    turnstile, order = Turnstile(), []

    async def other() -> None:
        async with turnstile:
            order.append("other")

    async with trio.open_nursery() as nursery:
        async with turnstile:
            nursery.start_soon(other)
            await trio.testing.wait_all_tasks_blocked()
        async with turnstile:
            order.append("first again")
            await trio.testing.wait_all_tasks_blocked()
    assert order == ["first again", "other"]


async def test_who_is_cancelled_while_waiting_is_not_waited_for() -> None:
    turnstile = Turnstile()
    async with trio.open_nursery() as nursery:

        async def give_up() -> None:
            with trio.move_on_after(0) as scope:
                async with turnstile:
                    pytest.fail("it was taken")
            assert scope.cancelled_caught

        passed = trio.Event()

        async def wait() -> None:
            async with turnstile:
                passed.set()

        async with turnstile:
            nursery.start_soon(give_up)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(5):
            await passed.wait()


async def test_others_have_a_turn_while_the_kernel_always_has_a_request() -> None:
    eager = EagerTrio()
    read_end, write_end = os.pipe()
    os.write(write_end, b"a request that is always there")
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            for _ in range(10 * MAX_AT_ONCE):
                await eager.lowlevel.wait_readable(read_end)
            nursery.cancel_scope.cancel()
    finally:
        os.close(read_end)
        os.close(write_end)
    assert turns >= 5


async def test_everything_else_is_trio() -> None:
    eager = EagerTrio()
    assert eager.open_nursery is trio.open_nursery
    assert eager.lowlevel.current_task() is trio.lowlevel.current_task()
