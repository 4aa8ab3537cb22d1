// Sorts a table by the column whose head is pressed; without JavaScript the page is complete as it stands.
document.querySelectorAll("table.sort").forEach(function (table) {
  var heads = table.tHead.rows[0].cells;
  Array.prototype.forEach.call(heads, function (th, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = th.textContent;
    th.textContent = "";
    th.appendChild(button);
    button.addEventListener("click", function () {
      var down = th.getAttribute("aria-sort") === "ascending";
      Array.prototype.forEach.call(heads, function (h) { h.removeAttribute("aria-sort"); });
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      var body = table.tBodies[0];
      var numeric = th.classList.contains("n");
      var rows = Array.prototype.map.call(body.rows, function (row) {
        var cell = row.cells[column];
        var text = cell.dataset.v || cell.textContent;
        return { row: row, key: numeric ? parseFloat(text) : text };
      });
      rows.sort(function (a, b) {
        if (numeric) {
          // Missing values stay at the end, whichever way is sorted.
          if (isNaN(a.key) || isNaN(b.key)) return (isNaN(a.key) ? 1 : 0) - (isNaN(b.key) ? 1 : 0);
          return down ? b.key - a.key : a.key - b.key;
        }
        return (a.key < b.key ? -1 : a.key > b.key ? 1 : 0) * (down ? -1 : 1);
      });
      rows.forEach(function (entry) { body.appendChild(entry.row); });
    });
  });
});
