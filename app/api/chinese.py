"""What errors say, in Chinese. Sentences stay in English where they are raised and are found here by their shape.

A placeholder `{}` stands for whatever a sentence holds there, in order; nouns among them are translated too. A test
reads every raise of the code and fails when a sentence has no line here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

NOUNS: Mapping[str, str] = {
    "account": "账户",
    "alert": "预警",
    "benchmark": "能效标杆",
    "budget": "预算",
    "carrier": "能源品种",
    "decision": "认定",
    "deletion": "删除记录",
    "enterprise": "用能单位",
    "exchange": "换表记录",
    "exclusion": "扣除记录",
    "factor": "折算系数",
    "gateway": "网关",
    "job": "任务",
    "line": "生产线",
    "meter": "计量器具",
    "provider": "身份提供方",
    "multiplier": "倍率",
    "none": "无",
    "reading": "读数",
    "region": "行政区",
    "silence": "静默",
    "token": "令牌",
    "webhook": "回调",
}
SENTENCES: Mapping[str, str] = {
    "a day is written as 2026-11-23": "日期的写法为 2026-11-23",
    "a time is written as 2026-11-23T09:15:00+08:00": "时间的写法为 2026-11-23T09:15:00+08:00",
    # the readings door
    "No valid gateway secret": "网关密钥无效",
    "The body is too large": "请求体过大",
    "The readings cannot be stored now": "暂时无法保存读数",
    "Only POST": "仅支持 POST",
    "Too many requests at once": "同时请求过多",
    "Too much at once": "待处理数据过多",
    "Perhaps stored": "是否已保存尚不确定",
    "Unknown kind of body": "不支持的请求体类型",
    "Unknown encoding of the body": "不支持的请求体编码",
    "Readings are sent here with POST.": "请以 POST 向此处发送读数。",
    "The request should bear: Authorization: Bearer <gateway secret>": "请求须带 Authorization: Bearer <网关密钥>",
    "No active gateway has this secret.": "没有启用的网关使用此密钥。",
    "A body may hold {} bytes, before and after decompression. Send several smaller messages.": (
        "请求体在压缩前后均不得超过 {} 字节。请拆分为多条较小的报文。"
    ),
    "The database cannot be reached. Nothing of this request was kept; send it again later.": (
        "数据库无法连接。本次请求的内容均未保存；请稍后重发。"
    ),
    "{} requests of this gateway already wait. Nothing of this one was kept.": (
        "该网关已有 {} 个请求在等待。本次请求的内容均未保存。"
    ),
    "Too many readings wait to be stored. Nothing of this request was kept; send it again.": (
        "等待保存的读数过多。本次请求的内容均未保存；请重发。"
    ),
    "The service stopped before the database answered. Send it again: what is stored stays as it is.": (
        "服务在数据库应答之前停止。请重发：已保存的内容保持不变。"
    ),
    "{} is not taken here; {} and {}, in UTF-8, are.": "此处不接受 {}；接受 UTF-8 编码的 {} 和 {}。",
    "{} is not unpacked here; gzip and zstd are.": "此处不解压 {}；接受 gzip 和 zstd。",
    # who asks
    "send a token as Authorization: Bearer …, or log in": "请以 Authorization: Bearer … 发送令牌，或登录",
    "the session is over; log in again": "会话已结束；请重新登录",
    "send the session's csrf_token in {}": "请在 {} 中发送会话的 csrf_token",
    "a page of another site asked for this": "请求来自其他网站的页面",
    "this is for people who logged in; a token is revoked instead": "仅适用于已登录人员；令牌请改用吊销",
    "{} requests a minute are answered; go on in {} s": "每分钟最多 {} 次请求；请在 {} 秒后继续",
    "too many wrong tries; the next one is heard in {} s": "错误次数过多；请在 {} 秒后再试",
    "the identity provider does not vouch for a {}": "身份提供方未证明 {}",
    "the identity provider's token does not hold: {}": "身份提供方的令牌无效：{}",
    "the identity provider calls itself otherwise": "身份提供方的名称不符",
    "the identity provider did not answer: {}": "身份提供方未应答：{}",
    "log-in by OpenID Connect needs: pip install 'tcewatch[oidc]'": (
        "使用 OpenID Connect 登录须安装：pip install 'tcewatch[oidc]'"
    ),
    "{} has 1 to 200 visible characters, none of them a quotation mark": "{} 须为 1 至 200 个可见字符，不含引号",
    "this Idempotency-Key came before with another request": "该 Idempotency-Key 已用于另一请求",
    "the first call with this key is still being worked on": "使用该键的首次请求仍在处理",
    "the first call with this key was carried out; its answer was lost, so read what it made": (
        "使用该键的首次请求已执行，但其答复已丢失；请查询其结果"
    ),
    "the mail is {}; only one that failed is sent again": "该邮件状态为 {}；仅可重发失败的邮件",
    "the first answer held a secret, which is kept nowhere; rotate it to have another": (
        "首次答复含有密钥，不予保存；如需请轮换以获得新的密钥"
    ),
    "the object has changed since; read it again": "对象此后已被更改；请重新读取",
    "a password has {} to {} characters": "密码须有 {} 至 {} 个字符",
    "the password is little more than the account's name": "密码与账户名过于相近",
    "the password repeats a few characters": "密码重复使用了少数字符",
    "the token is unknown, expired or revoked": "令牌不存在、已过期或已吊销",
    "the role {} may only read; registry changes need an admin token": "角色 {} 只能读取；修改须用管理员令牌",
    "the role {} may only read; this needs a supervisor's or an admin's token": (
        "角色 {} 只能读取；此操作须用监管人员或管理员的令牌"
    ),
    # factors
    "a factor of {} reaches beyond this token's scope {}": "{} 的系数超出该令牌的范围 {}",
    (
        "factor {} of {} holds from {} {}; end that one first, choose other dates, or send ends_previous to end an "
        "open one on the day this begins"
    ): "{1} 的系数 {0} 自 {2} 起有效（{3}）；请先终止它、改选日期，或发送 ends_previous 使其在新系数生效日终止",
    "{} is of the reference tables; change it or enter one that goes before it": "{} 属于参考表；请录入优先于它的系数",
    "a factor belongs to an enterprise or to a region, not to both": "系数只能属于用能单位或行政区之一",
    "only CO2 factors belong to a data set": "只有二氧化碳排放因子属于数据集",
    "only coal equivalents have a basis": "只有折标准煤系数分当量值与等价值",
    "it should be later than valid_from: it is the first day on which it holds no more": (
        "应晚于 valid_from：它是不再有效的第一天"
    ),
    "send either the value or the heating value it is made of": "系数值与热值只能发送其一",
    "electricity has no heating value; send its value": "电力没有热值；请发送系数值",
    "a factor of this kind is made of {}, no more and no less": "此类系数由 {} 得出，不多不少",
    # explanations
    "one bucket is explained at a time; ask for each, or for a longer interval": (
        "每次只说明一个时段；请逐个查询，或用更长的间隔"
    ),
    # lines and levels
    "{} is no product; GET /api/v1/products lists them": "{} 不是产品；见 GET /api/v1/products",
    "{} is none of {}: {}": "{} 不是 {} 的条件；可选：{}",
    "the shares of meter {} over lines add up to {}, more than 1: {}": (
        "计量器具 {} 在各生产线的分摊之和为 {}，超过 1：{}"
    ),
    (
        "meter {} measures {} inside the enterprise, which {} of this line has counted already; give the line either "
        "of them"
    ): "计量器具 {} 在企业内部计量 {}，该生产线的 {} 已计入；两者只取其一",
    "{} has not begun; the running month is {}": "{} 尚未开始；当前月份为 {}",
    "meter {} stands there twice": "计量器具 {} 重复出现",
    "{} has no meter {}": "{} 没有计量器具 {}",
    "{} has no line {}": "{} 没有生产线 {}",
    "this holds for everybody; the scope {} is only a part": "此项对所有单位有效；范围 {} 只是其中一部分",
    "correction {} of {} ({}) by {} holds from {} {}; end that one first, or choose other dates": (
        "{1}（{2}）按 {3} 的修正项 {0} 自 {4} 起有效（{5}）；请先终止它或改选日期"
    ),
    "needs and needs_above are given together or not at all": "needs 与 needs_above 须同时给出或均不给出",
    "a correction changes at least one of the three levels": "修正项至少改变三个等级之一",
    "there is no limit of {} of the edition {} to correct": "没有可修正的限额：{}，版本 {}",
    "{} has not come; what will be is said when it is so": "{} 尚未到来；届时再登记",
    "{} closed before {} opened and would be judged anew; send restates if that is meant": (
        "{0} 已结（{1} 起未结），其评价将改变；如确需如此请发送 restates"
    ),
    "level {} of {} ({}) holds from {} {}; end that one first, or choose other dates": (
        "{1} 的水平 {0}（{2}）自 {3} 起有效（{4}）；请先终止它或改选日期"
    ),
    "{} is of the reference tables; end it, or change it": "{} 属于参考表；请终止或修改它",
    "it should be later than valid_from: it is the first day without the level": (
        "应晚于 valid_from：它是该水平不再有效的第一天"
    ),
    "a {} has {}": "{} 只有 {}",
    "a limit needs level 3, the limit of existing plants": "限额须有 3 级（现有企业限定值）",
    "a benchmark has both the benchmark level (标杆) and the baseline (基准)": "须同时给出标杆水平与基准水平",
    "lower is better: the baseline should be above the benchmark level": "数值越低越好：基准水平应高于标杆水平",
    "{} is no unit of a level; kgce/t, kgce/m2, gce/kWh or kWh/t are": (
        "{} 不是水平的单位；如 kgce/t、kgce/m2、gce/kWh、kWh/t"
    ),
    "{} is counted in {}, not in {}": "{} 以 {} 计量，而非 {}",
    "it should be a local month such as 2026-10": "应为当地月份，如 2026-10",
    # the record of a meter
    "it should be later than from, by 400 days at most": "应晚于 from，且最多相差 400 天",
    "the exchange at {} is yet to come; record it when it has happened": "{} 的换表尚未发生；请在换表之后登记",
    "an exchange at or after this one is on record; revoke that one first if it is wrong": (
        "同时或更晚的换表已登记；如有误，请先撤销那一条"
    ),
    "{} {} is not below {}, where this register rolls over": "{} {} 应小于该表计的翻转值 {}",
    "the register showed {} before the exchange; its final value cannot be {}": "换表前示值为 {}，旧表止码不能是 {}",
    (
        "a reading after this exchange stands as the old register's; check the time, or send restates true to have it "
        "judged anew"
    ): "换表时间之后已有旧表的有效读数；请核对时间，或发送 restates: true 重新判定",
    "this meter has no rolls_over_at; send the register's range as amount": (
        "该表计没有 rolls_over_at；请在 amount 中给出量程"
    ),
    "a register that rolls over at {} does not show {}": "在 {} 翻转的表计不会显示 {}",
    "a register that began again at {} does not show {}, which is less": "自 {} 重新计数的表计不会显示更小的 {}",
    "no energy flows backwards through a meter; a negative reading cannot be real": (
        "能量不会反向流过表计；负读数不能认定为真实"
    ),
    "decision {} recorded exchange {}; revoke that decision": "换表 {1} 随认定 {0} 登记；请撤销该认定",
    "the reading at {} stands; nobody has to say what it was": "{} 的读数已计入，无须认定",
    "an exchange needs old_final: what the old register showed at last": "换表须有 old_final：旧表的止码",
    "an exchange after the reading does not make it the new register's": "换表晚于该读数，该读数不属于新表",
    "a register that began at {} does not show {}, which is less": "起码为 {} 的表不会显示更小的 {}",
    "the new register began at {} and had counted to {} by then; send at, when it was exchanged": (
        "新表起码为 {}，届时已走到 {}；请以 at 给出换表时间"
    ),
    "amount goes with a rollover or a reset": "amount 仅用于翻转或清零",
    "{} goes with an exchange": "{} 仅用于换表",
    "months before {} may be closed already; give it or a later one": "{} 之前的月份可能已结账；请给出该月或更晚的月份",
    "what was known of CO2 on a day is kept by the data set {} alone": "某日所知的二氧化碳仅按数据集 {} 留存",
    "it came with exchange {}; revoke that one": "它随换表 {} 登记；请撤销该换表",
    "{} is of kind {}; only registers are exchanged, reset or roll over": (
        "{} 的类型为 {}；只有累计示值表计才会更换、复位或翻转"
    ),
    "{} {} was revoked at {}": "{} {} 已于 {} 撤销",
    "it says from when the multiplier holds; send the multiplier too": "它说明倍率的生效时间；请同时发送 multiplier",
    (
        "this meter has multipliers with dates; say from when this one holds in multiplier_from, or revoke "
        "the dated ones"
    ): "该表计已有按日期生效的倍率；请用 multiplier_from 说明生效时间，或先撤销按日期的倍率",
    "the database went away ({}); what was done stays done, begin again": (
        "数据库连接中断（{}）；已完成的部分保持有效，请重新开始"
    ),
    # budgets
    "a year from {} to {}, not {}": "年份应在 {} 至 {} 之间，而不是 {}",
    "{} is no month of {}": "{} 不是 {} 年的月份",
    "a budget on the basis {} is given as {} alone": "口径 {} 的预算只以 {} 给出",
    "revision {} was {} before; enter another one instead": "版本 {} 此前已为 {}；请另行录入",
    "revision {} is older than revision {}, which is in force; enter another one": (
        "版本 {} 早于已生效的版本 {}；请另行录入"
    ),
    "a budget is an amount above zero, not {}": "预算须为大于零的数量，而不是 {}",
    "a budget of {} tonnes is not believed": "{} 吨的预算不可信",
    "a plan has 12 months, not {}": "分月计划须为 12 个月，而不是 {} 个",
    "month {} is {}; it must be zero or more": "第 {} 个月为 {}；须为零或更多",
    "the months add up to {} and the budget is {}: they differ by {}": "各月之和为 {}，预算为 {}：相差 {}",
    "what was known on a day is kept of an enterprise's months: ask for it at enterprises/{id}/energy, by P1M or P1Y": (
        "某日所知的数据仅按企业的月份留存：请在 enterprises/{{id}}/energy 以 P1M 或 P1Y 查询"
    ),
    "what was known on a day is kept by month and carrier: ask for P1M or P1Y, by total or carrier": (
        "某日所知的数据按月份和能源品种留存；请以 P1M 或 P1Y、total 或 carrier 查询"
    ),
    # what is there
    "no CO2 data set {}; there are {}": "没有二氧化碳排放因子数据集 {}；可用：{}",
    "no {} {}": "没有{} {}",
    "there is no {} {}": "没有{} {}",
    "{} {} exists already": "{} {} 已存在",
    "no enterprise {}": "没有用能单位 {}",
    "{} is no gateway of this enterprise": "{} 不是该用能单位的网关",
    "{} is no carrier; GET /api/v1/carriers lists them": "没有能源品种 {}；见 GET /api/v1/carriers",
    "scope {} is unknown; for the role {} it is {}": "没有范围 {}；角色 {} 的范围应为 {}",
    "{} is the service's own name at the broker": "{} 是本服务在消息服务中的名称",
    # parameters and bodies
    "is no address": "不是网址",
    "has to begin with https://": "须以 https:// 开头",
    "needs a host and may hold neither user, password nor fragment": "须有主机名，且不得含用户名、密码或片段标识",
    "is written with letters, digits and signs of ASCII": "只能使用 ASCII 字母、数字和符号",
    "{} is no public address": "{} 不是公网地址",
    "it should be later than from; the range is [from, to)": "应晚于 from；区间为 [from, to)",
    "the cursor belongs to another list": "游标属于另一列表",
    "the cursor cannot be read; take `next` of the answer before as it is": "无法解析游标；请原样使用上一页的 next",
    "local days and months are those of {} here": "此处的日、月按 {} 时区",
    "is no parameter here; known are: {}": "不是此处的参数；可用参数：{}",
    "a cell of XLSX holds {} characters, one here {}; ask for csv": (
        "XLSX 单元格最多 {} 个字符，此处有 {} 个；请改用 csv"
    ),
    "{} buckets asked for, at most {} are answered": "请求了 {} 个时段，最多返回 {} 个",
    "a time of day needs an offset, such as +08:00 or Z": "带时刻的时间须有时区偏移，如 +08:00 或 Z",
    "not an RFC 3339 time, nor a year, a month or a day such as 2026-11-23": (
        "不是 RFC 3339 时间，也不是年、月或日（如 2026-11-23）"
    ),
    "the year must be from {} to {}": "年份须在 {} 至 {} 之间",
    "credit code {}: {}": "统一社会信用代码 {}：{}",
    "it has {} characters and should have {}": "有 {} 个字符，应为 {} 个",
    "{} cannot be in it; allowed are digits and capitals without I O S V Z": (
        "不得含 {}；只允许数字和除 I O S V Z 外的大写字母"
    ),
    "the check character is {} and should be {}": "校验码为 {}，应为 {}",
    "no way from unit {} to {}; accepted: {}": "单位 {} 无法换算为 {}；可用单位：{}",
    "A body may hold {} bytes and has to say its length.": "请求体最多 {} 字节，且须声明长度。",
    "The path holds a zero byte: nothing has such a name.": "路径含零字节：不存在这样的名称。",
    "The headers hold {} bytes; at most {} are taken.": "请求头共 {} 字节，最多 {} 字节。",
    "The body has to be application/json; this one is {}.": "请求体须为 application/json，此处为 {}。",
    "is the id of no event of this stream": "不是此事件流中事件的 id",
    "a sheet of XLSX holds {} rows and this table is longer; ask for csv": (
        "XLSX 工作表最多 {} 行，此表更长；请改用 csv"
    ),
    "Parquet needs the extra: pip install 'tcewatch[parquet]'": "Parquet 须安装扩展：pip install 'tcewatch[parquet]'",
    "{} jobs of this token are not finished; wait for one or cancel it": (
        "该令牌有 {} 个任务未完成；请等待或取消其中之一"
    ),
    "the job is {}; only one that is done has a result": "任务状态为 {}；只有已完成的任务才有结果",
    "a token has {} webhooks at most; remove one": "每个令牌最多 {} 个回调；请先删除一个",
    # alerts
    "an alert that is {} takes no {}": "处于 {} 状态的预警不接受 {}",
    "a red alert is silenced by its supervisor only": "红色预警只能由监管部门静默",
    "a silence lasts more than 0 and at most {} days, not {}": "静默须大于 0 天且不超过 {} 天，而非 {} 天",
    "an address stands there twice": "同一地址出现两次",
    "a year lies between 2000 and 2100": "年份须在 2000 至 2100 之间",
    "the incentive target is not above the base target": "激励目标不得高于基本目标",
    "{}: {}": "{}：{}",
    "is no setting": "没有此项设置",
    "should be MM-DD, not {}": "应为 MM-DD，而非 {}",
    "should lie between {} and {}, not {}": "应在 {} 至 {} 之间，而非 {}",
    "should be a whole number, not {}": "应为整数，而非 {}",
    "should be {}, not {}": "应为 {}，而非 {}",
    "must not be below {}": "不得小于 {}",
    "must not be above the threshold that raises the level": "不得高于升级阈值",
    "names each of green, yellow, orange and red once": "须为 green、yellow、orange、red 各给出一个名称",
    "{}: {}; roles are {}": "{}：{}；角色为 {}",
    "{}: working days lie between 0 and 60": "{}：工作日数须在 0 至 60 之间",
    "{} has no name": "{} 没有名称",
    "is no month such as 2026-10": "不是 2026-10 形式的月份",
    # ourselves
    "the broker did not answer {} in time": "消息服务未及时应答 {}",
    "the broker did not answer in time": "消息服务未及时应答",
    "not connected to the broker": "未连接消息服务",
    "the broker closed the connection": "消息服务关闭了连接",
    "the connection to the broker was lost": "与消息服务的连接已中断",
    "the broker refuses the message: {}": "消息服务拒绝该消息：{}",
    "the connection was closed at once": "连接随即被关闭",
    "Try again in a moment.": "请稍后再试。",
    "It is in the service's log under this instance.": "详情见服务日志中的该 instance。",
    "{} {} is not there.": "{} {} 不存在。",
    "{} cannot be used on {}.": "{} 不能用于 {}。",
    "The body cannot be read as JSON.": "请求体不是可读的 JSON。",
    "The request could not be carried out.": "请求无法执行。",
}
FAULTS: Mapping[str, str] = {
    "missing": "缺少该字段",
    "extra_forbidden": "没有此字段",
    "json_invalid": "不是有效的 JSON",
    "string_type": "应为文本",
    "string_too_short": "至少 {min_length} 个字符",
    "string_too_long": "最多 {max_length} 个字符",
    "string_pattern_mismatch": "须符合 {pattern}",
    "string_unicode": "不是有效的 Unicode 文本",
    "int_type": "应为整数",
    "int_parsing": "应为整数",
    "int_parsing_size": "整数过大",
    "int_from_float": "应为整数，不得有小数",
    "float_type": "应为数字",
    "float_parsing": "应为数字",
    "finite_number": "应为有限的数字",
    "decimal_type": "应为数字",
    "decimal_parsing": "应为数字",
    "decimal_max_digits": "最多 {max_digits} 位数字",
    "decimal_max_places": "最多 {decimal_places} 位小数",
    "decimal_whole_digits": "整数部分最多 {whole_digits} 位",
    "bool_type": "应为 true 或 false",
    "bool_parsing": "应为 true 或 false",
    "greater_than": "应大于 {gt}",
    "greater_than_equal": "应不小于 {ge}",
    "less_than": "应小于 {lt}",
    "less_than_equal": "应不大于 {le}",
    "multiple_of": "应为 {multiple_of} 的倍数",
    "literal_error": "应为 {expected} 之一",
    "enum": "应为 {expected} 之一",
    "list_type": "应为列表",
    "dict_type": "应为对象",
    "model_type": "应为对象",
    "model_attributes_type": "应为对象",
    "too_short": "至少 {min_length} 项",
    "too_long": "最多 {max_length} 项",
    "date_type": "应为日期",
    "date_parsing": "应为日期，如 2026-11-23",
    "date_from_datetime_parsing": "应为日期，如 2026-11-23",
    "date_from_datetime_inexact": "应为日期，不得带时刻",
    "datetime_type": "应为时间",
    "datetime_parsing": "应为 RFC 3339 时间",
    "datetime_from_date_parsing": "应为 RFC 3339 时间",
    "timezone_aware": "时间须有时区偏移",
    "none_required": "应为空",
    "url_parsing": "应为网址",
    "url_scheme": "网址须以 {expected_schemes} 开头",
}
"""By pydantic's own names of faults."""


def _shape(sentence: str) -> re.Pattern[str]:
    return re.compile("(.+?)".join(map(re.escape, sentence.split("{}"))), re.DOTALL)


SHAPES = [(_shape(sentence), chinese) for sentence, chinese in sorted(SENTENCES.items(), key=lambda it: -len(it[0]))]


FIELD = re.compile(r"[a-z0-9_]+")


def in_chinese(sentence: str) -> str | None:
    """The sentence in Chinese, or None when it is not known. A field's name in front stays in front."""
    field, colon, rest = sentence.partition(": ")
    if colon and FIELD.fullmatch(field) and (said := in_chinese(rest)) is not None:
        return f"{NOUNS.get(field, field)}：{said}"
    for shape, chinese in SHAPES:
        if (found := shape.fullmatch(sentence)) is not None:
            return chinese.format(*(NOUNS.get(part) or in_chinese(part) or part for part in found.groups()))
    said = in_chinese(rest) if colon else None
    return None if said is None else f"{field}：{said}"


def fault_in_chinese(kind: str, facts: Mapping[str, Any], otherwise: str) -> str:
    """What validation found, by pydantic's name of it; ours are sentences of our own."""
    if kind not in FAULTS:
        return in_chinese(otherwise.removeprefix("Value error, ")) or f"取值有误（{otherwise}）"
    try:
        return FAULTS[kind].format(**facts)
    except KeyError:
        return f"取值有误（{otherwise}）"
