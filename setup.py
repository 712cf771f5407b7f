"""What pyproject.toml cannot say: the files of configs/ go into the wheel, as legibility/configs/.

They stand outside the package because people of a clone look for them there and name them by path.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """`build_py`, and the configs beside the modules. An editable install reads them where they are."""

    def run(self) -> None:
        """Copy modules, package data and configs."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "legibility" / "configs"
            self.mkpath(str(target))
            for config in sorted(Path("configs").glob("*.yaml")):
                self.copy_file(str(config), str(target / config.name))


setup(cmdclass={"build_py": BuildWithConfigs})
