"""How long ago a node knew a leader at work."""

from matchengine.raft.ready import SoftState
from matchengine.raft.types import Role
from matchengine.runtime.contact import LeaderContact

FOLLOWS_NOBODY = SoftState(Role.FOLLOWER, 1, "", "")
FOLLOWS = SoftState(Role.FOLLOWER, 2, "n2", "h:2")
LEADS = SoftState(Role.LEADER, 3, "n1", "h:1")


class Clock:
    now = 50.0

    def __call__(self):
        return self.now


def test_a_contact_is_never_then_the_leaders_then_ones_own():
    clock = Clock()
    contact = LeaderContact(10, clock)
    contact.note(FOLLOWS_NOBODY)
    assert contact.age_ms(700) is None
    contact.note(FOLLOWS)
    assert contact.age_ms(7) == 70
    contact.note(LEADS)
    clock.now += 3600
    assert contact.age_ms(0) == 0
    contact.note(FOLLOWS_NOBODY)
    clock.now += 2
    assert contact.age_ms(360_200) == 2000, "one's own leadership was a contact"
    assert contact.age_ms(5) == 50


def test_a_candidate_knows_no_leader():
    contact = LeaderContact(10, Clock())
    contact.note(SoftState(Role.CANDIDATE, 2, "", ""))
    assert contact.age_ms(3) is None
