// What the edge says of an alarm, of a wish and of a login, in the reader's language. The record stays as it was written: in English.
//
// The Chinese words are those of the gateway's console (a test compares them): one plant, one language.

import { language, unit } from "./words.js";

/** What always reads the same but for what is put into it; the first form that fits counts. */
const SAID = [
  ["asked too long ago", "请求时间过久"],
  ["the alarm was raised meanwhile", "期间该报警已发生"],
  ["this occurrence is over: the alarm was raised again", "该次报警已结束：报警已再次发生"],
  ["there is no such occurrence", "没有这次报警"],
  ["this occurrence is over", "该次报警已结束"],
  ["already acknowledged", "已确认"],
  ["acknowledge it before the reset", "复位前请先确认"],
  ["the condition still stands", "条件仍成立"],
  ["nothing is latched", "没有锁存的报警"],
  ["already shelved", "已搁置"],
  ["already out of service", "已停用"],
  ["it is not shelved", "未被搁置"],
  ["it is not out of service", "未被停用"],
  ["nobody may shelve this alarm", "任何人不得搁置此报警"],
  ["shelving needs a reason", "搁置需要填写原因"],
  ["out_of_service needs the number of a work permit", "停用需要填写作业许可编号"],
  ["a comment needs its words", "说明不能为空"],
  ["a mode needs a reason", "模式需要填写原因"],
  ["the name or the password is wrong", "用户名或密码错误"],
  ["log in first; looking needs no login", "请先登录；仅查看无需登录"],
  ["{a}: expected the token of this session, found another or none; reload the page", "页面已过期，请刷新页面（{a}）"],
  ["{a} needs the name of a user", "{a}需要用户名"],
  ["the role {a} may only watch", "角色“{a}”只能查看"],
  ["shelving this alarm is for {a}, not for the role {b}", "搁置此报警限于{a}，角色“{b}”不可"],
  ["shelving this alarm ends after {a} min at the latest", "此报警最长搁置 {a} 分钟"],
  ["nobody may shelve this alarm alone: a second person ({a}) has to agree", "任何人不得单独搁置此报警：须有第二人（{a}）同意"],
  ["the mode of a unit is set by {a}, not by the role {b}", "单元模式由{a}设定，角色“{b}”不可"],
  ["{a} is for {b}, not for the role {c}", "{a}限于{b}，角色“{c}”不可"],
  ["{a} needs a reason", "{a}需要填写原因"],
  ["it is suppressed ({a})", "已被抑制（{a}）"],
  ["there is no unit of this name", "没有该名称的单元"],
  ["nobody has set the mode of this unit, or its time is up", "没有人设定过此单元的模式，或时间已到"],
  ["expected a mode of {a}, found {b}", "模式应为以下之一：{a}；实际为 {b}"],
  ["a mode needs an end", "模式需要结束时间"],
  ["its end is over already", "结束时间已过"],
  ["a mode that a person sets ends after {a} min at the latest", "人工设定的模式最长 {a} 分钟"],
  ["one shot: the condition is over", "单次搁置：条件已消失"],
  ["{a} no longer explains it", "{a} 不再是其原因"],
  ["nothing explains it any more", "已无原因"],
  ["the time is up", "时间已到"],
  ["definition removed", "定义已删除"],
  ["definition changed", "定义已变更"],
  ["by {a}", "由 {a} 执行"],
  ["too many wrong passwords for this name; try again in {a} s", "该用户名错误密码次数过多；请在 {a} 秒后重试"],
  ["the role {a} agrees here with what another does and does not act", "角色 {a} 在此只能同意他人的操作，不能自行操作"],
  ["the password was set by another person; change it at the console first", "密码由他人设定；请先在控制台修改密码"],
  ["a page of another site may not send this request", "不接受其他网站页面发出的此请求"],
  ["host: expected a loopback name", "主机名应为本机回环名称"],
  ["alarm: expected one of this edge, found {a}", "应为本边缘的报警，而收到 {a}"],
  ["user: expected a name, because there are no accounts", "没有账户时必须填写姓名"],
  ["no value for {a} s, expected every {b} s", "{a} 秒无数值，应每 {b} 秒一次"],
  ["status {a}", "状态码 {a}"],
  ["quality is good again", "质量已恢复正常"],
  ["disconnected", "未连接"],
  ["connected", "已连接"],
  ["no data", "无数据"],
  ["the agent has another plan", "边缘站已更换配置"],
  ["no step", "无跳变"],
  ["the wall clock stepped by {a} s", "系统时钟跳变 {a} 秒"],
  ["the wall clock is {a} s behind the journal", "系统时钟比日志落后 {a} 秒"],
  ["the wall clock is in step with the journal", "系统时钟与日志一致"],
  ["{a} bytes wait for delivery, budget {b}", "{a} 字节待发送，上限 {b} 字节"],
  ["the disk has {a} bytes left, and {b} more may have to wait", "磁盘剩余 {a} 字节，而可能还有 {b} 字节需等待发送"],
  ["{a} % of the room for what waits is used; full in {b} min at this rate", "待发存储已用 {a}%，照此速度 {b} 分钟后存满"],
  ["{a} % of the room for what waits is used, and no more each minute", "待发存储已用 {a}%，目前不再增长"],
  ["entries were given up before {a} had them", "部分记录在 {a} 收到之前已放弃"],
  ["log servers go on without a loss", "日志服务器已无遗漏"],
  ["set aside as {a}", "已移出，另存为 {a}"],
  ["log is readable", "日志可读取"],
  ["epoch {a} has been confirmed", "纪元 {a} 已获确认"],
  ["epoch {a} has not been confirmed", "纪元 {a} 尚未获确认"],
  ["gateway {a} has another record {b} of epoch {c}", "网关 {a} 持有纪元 {c} 的另一条记录 {b}"],
  ["gateway {a} has record {b} of epoch {c}, this edge has made {d}", "网关 {a} 已有纪元 {c} 的记录 {b}，而本边缘站只到 {d}"],
  ["gateway {a} knows epoch {b} of this edge, later than {c}", "网关 {a} 知道本边缘站的纪元 {b}，晚于 {c}"],
  ["all certificates hold", "所有证书有效"],
  ["the configuration in the file is the approved one", "文件中的配置即已批准的配置"],
];

/** Explanations, which hold others in themselves. */
const TOLD = [
  [/^off setpoint (.+?) by (.+)$/, "偏离设定值 {a}：{b}"],
  [/^no longer: (.+)$/, "不再成立：{a}"],
  [/^(.+) for ([\d.e+]+) s$/, "{a}，持续 {b} 秒"],
  [/^(-?[\d.]+(?:e[+-]?\d+)?[^a-z]?.*?) above (.+)$/, "{a} 高于 {b}"],
  [/^(-?[\d.]+(?:e[+-]?\d+)?[^a-z]?.*?) below (.+)$/, "{a} 低于 {b}"],
  [/^(-?[\d.]+(?:e[+-]?\d+)?[^a-z]?.*?) equals (.+)$/, "{a} 等于 {b}"],
  [/^(-?[\d.]+(?:e[+-]?\d+)?[^a-z]?.*?) differs from (.+)$/, "{a} 不同于 {b}"],
  [/^consequence of (.+)$/, "{a} 的后果"],
  [/^the unit is in (\w+)$/, "单元处于 {a} 模式"],
  [/^(\d+) alarms in ([\d.]+) min, first (.+)$/, "{b} 分钟内 {a} 条报警，首出 {c}"],
  [/^over: (\d+) alarms, the first was (.+)$/, "已结束：{a} 条报警，首出 {b}"],
  [/^no new value$/, "无新值"],
  [/^bad quality$/, "质量坏"],
  [/^condition met$/, "条件成立"],
  [/^back to normal$/, "恢复正常"],
  [/^no limit holds in this phase$/, "此阶段没有限值"],
  [/^no value of any tag$/, "任何测点均无数值"],
  [/^values came again$/, "已恢复收到数值"],
];

const WORDS = {
  "viewer": "查看者",
  "operator": "操作员",
  "engineer": "工程师",
  "quality": "质量人员",
  "admin": "管理员",
  "system_admin": "系统管理员",
  "security_admin": "安全管理员",
  "audit_admin": "审计管理员",
  "service": "服务",
  "shift_lead": "班长",
  "maintenance": "维护",
  "computer account": "计算机账户",
  "acknowledge": "确认",
  "shelve": "搁置",
  "unshelve": "取消搁置",
  "out_of_service": "停用",
  "in_service": "恢复投用",
  "reset": "复位",
  "comment": "说明",
  "production": "生产",
  "cleaning": "清洁",
  "calibration": "校准",
  "simulation": "仿真",
  "of nobody": "无",
  "nobody": "无人",
  "accepted": "已接收",
  "offered": "待接收",
  "withdraw mode": "取消模式设定",
  "out of service": "停用",
  "in service": "恢复投用",
  "UNACK": "未确认",
  "ACKED": "已确认",
  "RTNUN": "已恢复，未确认",
  "LATUN": "锁存，未确认",
  "LATACK": "锁存，已确认",
  "SHLVD": "已搁置",
  "DSUPR": "已抑制",
  "OOSRV": "停用",
  "NORM": "已结束",
};

/** The unit behind a number, as the record codes it. */
const CODE = /(?<=\d )[^\d\s]\S*/g;
const FORMS = SAID.map(([form, words]) => [new RegExp(`^${form.split(/\{\w\}/).map((part) => part.replace(/[.*+?^$()|[\]\\{}]/g, "\\$&")).join("(.+)")}$`, "s"), words]);

/** Words of the edge; those of a form that is not known come back as they are. */
export function said(words) {
  const shown = words?.replace(CODE, unit);
  return language === "zh" ? translated(shown) : shown;
}

function translated(words) {
  if (!words) return words;
  for (const [form, pattern] of TOLD) {
    const found = form.exec(words);
    if (found) return put(pattern, found.slice(1).map(translated));
  }
  for (const [form, pattern] of FORMS) {
    const found = form.exec(words);
    if (found) return put(pattern, found.slice(1).map(word));
  }
  return WORDS[words] ?? words;
}

function put(pattern, values) {
  return pattern.replace(/\{(\w)\}/g, (_, name) => values["abcd".indexOf(name)] ?? "");
}

/** A role, a list of roles, an act, a state or a mode; what is none of these as it is. */
function word(one) {
  for (const [between, joint] of [[" or ", "或"], [", ", "、"]]) if (one.includes(between)) return one.split(between).map(word).join(joint);
  return WORDS[one] ?? one;
}
