"""Fresh provers trained against frozen verifiers (Kirchner et al. 2024, Sec. 4.3.1): one attack, many, and their survival."""
