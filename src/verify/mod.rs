//! Floor 2: verify and clear.
