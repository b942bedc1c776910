// Runs before the first paint, as a file of its own: the content security policy allows no inline script.
try {
  const theme = localStorage.getItem("fastdeploy.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is refused (private window): the system's preference decides.
}
