//! Assets, policies, known vulnerabilities, repeats, risk, incidents: added to every detection.
