// One key for each button: those with data-press; digits choose a label. Not while something is typed.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=radio]), textarea, select")) return;
  const digit = document.querySelector(`input[data-key="${CSS.escape(event.key)}"]`);
  if (digit) {
    const part = digit.closest("details");
    if (part) part.open = true;
    digit.checked = true;
    digit.focus();
    return;
  }
  const button = document.querySelector(`[data-press="${CSS.escape(event.key)}"]`);
  if (button && event.key !== "Enter") { event.preventDefault(); button.click(); }
});
