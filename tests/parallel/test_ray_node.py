"""What travels between the head and a node, without either."""

from hypothesis import given
from hypothesis import strategies as st

from stages.parallel import ray_node
from stages.parallel.ray_node import PIECE, PIECES

RAYS_OWN = (
    100 * 1024,
    10 * 2**20,
)  # bytes: of an argument, and of all of a call, that Ray sends without its object store


@given(st.integers(0, PIECE * (PIECES + 2)))
def test_pieces_join_to_what_they_were_and_stay_below_what_ray_puts_into_its_object_store(size: int) -> None:
    content = bytes(size)
    messages = list(ray_node.in_pieces(content))
    assert b"".join(piece for pieces in messages for piece in pieces) == content
    assert all(len(piece) < RAYS_OWN[0] for pieces in messages for piece in pieces)
    assert all(sum(map(len, pieces)) < RAYS_OWN[1] for pieces in messages)
