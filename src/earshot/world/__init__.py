"""The synthetic world: pictures of coloured shapes whose truth is known, and simulated people who vote on them."""
