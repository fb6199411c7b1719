// The batching function of the peer's flow: rows are gathered for 50 ms or until 5,000 are there, then sent on as one
// INSERT. The arrays travel as literals made here, which is quicker than what the driver makes of JavaScript arrays.
const message = JSON.parse(msg.payload);
const meters = global.get("meters");
let rows = context.get("rows");
if (!rows) {
  rows = { t: [], meter: [], value: [], timer: null };
  context.set("rows", rows);
}
for (let i = 0; i < message.t.length; i += 1) {
  rows.t.push(message.t[i]);
  rows.meter.push(meters[message.meters[i]]);
  rows.value.push(message.values[i]);
}
const flush = () => {
  if (rows.timer) clearTimeout(rows.timer);
  rows.timer = null;
  if (!rows.t.length) return;
  const params = [`{${rows.t.join()}}`, `{${rows.meter.join()}}`, `{${rows.value.join()}}`];
  rows.t = [];
  rows.meter = [];
  rows.value = [];
  node.send({ params });
};
if (rows.t.length >= 5000) flush();
else if (!rows.timer) rows.timer = setTimeout(flush, 50);
return null;
