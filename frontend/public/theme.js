// Runs before the first paint, in a separate file, because the content security policy blocks inline scripts.
try {
  const theme = localStorage.getItem("fastdeploy.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is blocked (private window): use the system's preference.
}
