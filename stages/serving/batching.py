"""Photos of many requests go through the networks together: one thread runs them, others decode."""

import asyncio
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from stages.serving.counts import Counts

Waiting = tuple[np.ndarray, "asyncio.Future[np.ndarray]"]  # a photo's pixels, and its probabilities to be


class Full(Exception):
    """There is no room for more photos now."""


@dataclass(frozen=True)
class Batches:
    """How photos are gathered."""

    most: int  # photos in a batch
    waiting: int  # photos that are decoded, wait or are in the networks, at most
    seconds: float  # that a batch waits at most for photos which are being decoded


@dataclass
class Batcher:
    """Decodes photos and runs the networks. All but `read` and `run` happens on the event loop's thread."""

    read: Callable[[bytes], np.ndarray]  # a photo's bytes to uint8 [H, W, 3]
    run: Callable[[np.ndarray], np.ndarray]  # uint8 [n, H, W, 3] to probabilities [n, C]
    batches: Batches
    counts: Counts
    decoders: ThreadPoolExecutor
    networks: ThreadPoolExecutor  # of one thread
    queue: asyncio.Queue[Waiting] = field(default_factory=asyncio.Queue)
    waiting: int = 0  # photos taken in and not answered
    decoding: int = 0
    began: float = math.inf  # loop.time() when the batch that is in the networks went in

    async def predict(self, photos: Sequence[bytes]) -> list[np.ndarray | BaseException]:
        """Probabilities [C] of every photo, or what `read` or `run` raised. Raises Full.

        Where it is cancelled, what has not begun is not done.
        """
        if self.waiting + len(photos) > self.batches.waiting:
            raise Full
        self.waiting += len(photos)
        try:
            return await asyncio.gather(*(self._predict(photo) for photo in photos), return_exceptions=True)
        finally:
            self.waiting -= len(photos)

    async def _predict(self, photo: bytes) -> np.ndarray:
        loop = asyncio.get_running_loop()
        self.decoding += 1
        try:
            pixels = await loop.run_in_executor(self.decoders, self.read, photo)
        finally:
            self.decoding -= 1
        answer: asyncio.Future[np.ndarray] = loop.create_future()
        self.queue.put_nowait((pixels, answer))  # `waiting` bounds it
        return await answer

    async def work(self) -> None:
        """Run batch after batch, until cancelled."""
        while True:
            batch = [one for one in await self._gathered() if not one[1].done()]  # but for those that were given up
            if batch:
                await self._run(batch)

    async def _gathered(self) -> list[Waiting]:
        """The photos of a batch. It waits for those alone that are being decoded: a lone client's photo goes at once."""
        batch = [await self.queue.get()]
        ends = asyncio.get_running_loop().time() + self.batches.seconds
        while len(batch) < self.batches.most and (self.decoding or not self.queue.empty()):
            try:
                async with asyncio.timeout_at(ends):
                    batch.append(await self.queue.get())
            except TimeoutError:
                break
        return batch

    async def _run(self, batch: Sequence[Waiting]) -> None:
        loop = asyncio.get_running_loop()
        self.began = loop.time()
        try:
            pixels = np.stack([photo for photo, _ in batch])
            found = list(await loop.run_in_executor(self.networks, self.run, pixels))
        except Exception as error:
            found = [error] * len(batch)
        self.began = math.inf
        self.counts.batches.observe(len(batch))
        for (_, answer), result in zip(batch, found, strict=True):
            if answer.done():  # given up meanwhile
                continue
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)

    def seconds_in_networks(self) -> float:
        """How long the running batch has been in the networks; 0 if none is."""
        return max(0.0, asyncio.get_running_loop().time() - self.began)
