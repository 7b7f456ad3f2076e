"""Jobs: their lifecycle, the broker that notifies workers, the sweeper, and retention."""
