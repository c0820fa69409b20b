"""What the rendered images depend on besides dataset, split and index. Standard library only."""

from __future__ import annotations

#: Raised whenever any rendered pixel, label or id changes.
GENERATOR_VERSION = 1

#: Of head.npz; ASSET.md says where it comes from.
ASSET_SHA256 = "7cce4c8a9a55d3871b85f68540f540dfea7a3ac2889f7a424e4ef711bfc23d14"
