"""The same training steps as ferbench's in other people's loops: bare torch, DataLoader, Trainer, Lightning."""
