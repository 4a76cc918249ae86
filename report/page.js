// Tables sort, filter and download (DataTables); print shows all rows; fold-outs open for print.
const number = (text) => {
  const value = parseFloat(text.replace(/[\u202f,]/g, "").replace("\u2212", "-"));
  return Number.isNaN(value) ? -Infinity : value;
};
const plain = (html) => Object.assign(document.createElement("div"), { innerHTML: html }).textContent;
const numeric = {
  targets: "n",
  type: "num",
  render: (html, kind) => (kind === "sort" || kind === "type" ? number(plain(html)) : html),
};
const tables = [];
for (const table of document.querySelectorAll("main table")) {
  const rows = table.tBodies[0].rows.length;
  if (rows < 3 || !table.tHead || table.querySelector("[colspan]")) continue;
  const name = table.caption.textContent;
  const long = rows > 25;
  tables.push(
    new DataTable(table, {
      order: [],
      paging: long,
      pageLength: 25,
      autoWidth: false,
      columnDefs: [numeric],
      language: { search: "Filter", searchPlaceholder: "" },
      layout: {
        topStart: null,
        topEnd: rows > 8 ? "search" : null,
        bottomStart: { buttons: [{ extend: "csvHtml5", text: "CSV", titleAttr: `Download as CSV: ${name}`, title: name.slice(0, 60) }] },
        bottomEnd: long ? "paging" : null,
      },
    }),
  );
}
const oneColumn = () => {
  if (!Bokeh.documents.length) return setTimeout(oneColumn, 50);
  for (const chart of Bokeh.documents) {
    for (const model of chart.all_models) if (model.type === "Legend") model.ncols = 1;
  }
};
if (matchMedia("(max-width: 600px)").matches) oneColumn();
addEventListener("beforeprint", () => {
  for (const table of tables) table.page.len(-1).draw();
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});
document.documentElement.dataset.ready = "yes";
