"""Side by side with the peers: poolcli and they measured in turn, in one run."""
