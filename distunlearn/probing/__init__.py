"""Whether the scanner can still be told from frozen features: fresh probes, floors, null, verdict; ComBat to compare with."""
