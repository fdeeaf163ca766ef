import asyncio
import contextlib

from hypothesis import given
from hypothesis import strategies as st

from hubserve.gateway.response_ordering import ResponseOrdering

ENDS = ["answer", "error", "leave"]


@given(st.lists(st.sampled_from(ENDS), max_size=12).flatmap(lambda ends: st.tuples(st.just(ends), st.permutations(range(len(ends))))))
def test_responses_come_in_the_order_of_their_requests_however_others_end(case: tuple[list[str], list[int]]) -> None:
    ends, order = case

    async def scenario() -> None:
        ordering, came = ResponseOrdering(), []
        answers = [asyncio.get_running_loop().create_future() for _ in ends]

        async def ask(number: int) -> None:
            try:
                assert await ordering.wait(answers[number]) == number
            finally:
                came.append(number)

        tasks = [asyncio.create_task(ask(number)) for number in range(len(ends))]
        await asyncio.sleep(0)
        for number in order:
            if ends[number] == "answer":
                answers[number].set_result(number)
            elif ends[number] == "error":
                answers[number].set_exception(ValueError)
            else:
                tasks[number].cancel()
            await asyncio.sleep(0)
        for task in tasks:
            with contextlib.suppress(ValueError, asyncio.CancelledError):
                await task
        stayed = [number for number in came if ends[number] != "leave"]
        assert stayed == [number for number in range(len(ends)) if ends[number] != "leave"]

    asyncio.run(scenario())
