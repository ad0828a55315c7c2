"""A state machine of one's own under the simulator: python examples/simulated_counter.py"""

from matchengine.testing.simulator import Plan, run


class Counter:
    """Adds up the numbers that it is told."""

    total = 0

    def apply(self, entries):
        return [self._add(int(entry.data)) for entry in entries]

    def _add(self, number):
        self.total += number
        return b"%d" % self.total

    def snapshot(self):
        return iter([b"%d" % self.total])

    def restore(self, chunks):
        self.total = int(b"".join(chunks))


class CounterWorkload:
    """What its clients do: no two commands are equal, and the one query is the total."""

    queries = 1

    def machine(self):
        return Counter()

    def command(self, chance, client, number):
        return b"%d" % (client * 1_000_000 + number)

    def read(self, machine, query):
        return machine.total


if __name__ == "__main__":
    for seed in range(5):
        result = run(Plan(seed=seed, steps=5_000), CounterWorkload())
        done = f"{result.counts['acknowledged']} commands, {len(result.faults)} faults"
        print(f"seed {seed}: {done}: {result.failure or 'every rule held'}")
