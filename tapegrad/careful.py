"""The careful sweep: it looks at every slope, and it is the one that can record itself or stop at targets.

The trusting sweep (tape.py) does the same for plain arrays, in less time, as long as all is finite.
"""

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np

from tapegrad.entries import Entry, Leaf, Lift, annotate, free, give_output, parts, require_intact
from tapegrad.kinds import Primitive
from tapegrad.pieces import Pieces
from tapegrad.pulls import pulled

make: Any = None  # dispatch.make, which stands above: tensor.py names it here


def carefully(sweep: Any, lift: Lift | None, targets: Mapping[int, Leaf]) -> None:
    """Go on with a sweep, from what is pending, with a look at every slope.

    sweep : a tape.Sweep
    lift, targets : as of tape.replay
    """
    oldest = max(targets, default=0)  # Positions fall: 0 is older than all.
    pending, queue = sweep.pending, sweep.queue
    if not sweep.intact:
        require_intact([entry for entry in queue if entry[0] <= oldest], oldest)
    at: Entry = queue[0]
    try:
        while queue:
            entry = heapq.heappop(queue)
            if entry[0] > oldest:
                break  # No target depends on this, nor on what is older still.
            g = pending.pop(entry[0])
            at = form = entry  # at: what an error is about, the hooks first and then the rule
            if type(g) is Pieces:
                g = g.whole()
            if entry[0] in targets and targets[entry[0]].spec is None:
                sweep.totals.append((targets[entry[0]], g))
                continue  # A part of what its owner's sweep will bring together there; the hooks run then.
            while len(form) == 3:
                g = sweep.hooked.get(form[0]) if form[0] in sweep.hooked else form[1].run(g)
                form = form[2]
            at = form
            if entry[0] in targets:
                sweep.totals.append((targets[entry[0]], g))
                continue  # It may be an identity on somebody else's entry, who is to sweep it yet.
            if len(form) == 2:
                sweep.totals.append((form[1], g))
            elif len(form) == 4:
                give_output(pending, queue, form[3], form[1], form[2], g)
            else:
                for parent, c in pulled(form, entry, g, lift, True):
                    if lift is not None and isinstance(c, (np.ndarray, np.generic)):
                        c = make(
                            np.array(c), None
                        )  # A rule gave a constant: the next one is to be handed tensors alone.
                    position = parent[0]
                    if position in pending:
                        pending[position] = pending[position] + c
                    else:
                        pending[position] = c
                        heapq.heappush(queue, parent)
            if not sweep.keep:
                free(entry)
    except Exception as error:
        annotate(error, at)
        raise


def takes_care(entry: Entry) -> bool:
    """Whether this sweep does otherwise by an entry than the trusting one: for a slope, or a product's operands."""
    if len(entry) < 5:
        return False
    known = parts(entry)[0]
    return type(known) is not Primitive or known.multilinear
