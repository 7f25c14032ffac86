"""The subjects of the demo model: industries, categories, entity types, the urgency rule.

Knows nothing about wording; the phrasings live in `templates/`.
"""

from __future__ import annotations

from dataclasses import dataclass

LANGUAGES = ("en", "zh")
INDUSTRIES = ("finance", "telecom", "government", "ecommerce", "other")
URGENCIES = ("low", "normal", "high")

ENTITY_TYPES = (
    "account",
    "order",
    "case",
    "amount",
    "date",
    "place",
    "device",
    "product",
    "phone",
)
"""Every entity type, in the order in which an answer lists them."""

SUMMARY_LABELS = {
    "en": {"account": "account ", "order": "order ", "case": "case "},
    "zh": {"account": "账户", "order": "订单", "case": "工单"},
}
SUMMARY_PUNCTUATION = {"en": (": ", ", "), "zh": ("：", "，")}


@dataclass(frozen=True, kw_only=True)
class Category:
    """One kind of message.

    `extras`: entity types that may get a sentence of their own; `keys`: those that go into the
    summary, the most important first.
    """

    name: str
    industry: str
    phrase: dict[str, str]
    extras: tuple[str, ...]
    keys: tuple[str, ...]
    base_urgency: str = "normal"


def _category(
    industry: str, name: str, en: str, zh: str, extras: str, keys: str, base: str = "normal"
) -> Category:
    return Category(
        name=name,
        industry=industry,
        phrase={"en": en, "zh": zh},
        extras=tuple(extras.split()),
        keys=tuple(keys.split()),
        base_urgency=base,
    )


_ALL = (
    _category("finance", "unauthorized_transaction", "Unauthorized transaction", "非本人交易",
              "account amount date phone case", "amount account", "high"),
    _category("finance", "card_lost", "Bank card lost", "银行卡丢失",
              "account date place phone", "account place", "high"),
    _category("finance", "transfer_failed", "Transfer problem", "转账问题",
              "amount date phone case", "amount account"),
    _category("finance", "loan_repayment", "Loan repayment", "贷款还款",
              "account amount phone", "amount date"),
    _category("finance", "account_locked", "Account locked", "账户无法登录",
              "account date phone", "account"),
    _category("finance", "fee_dispute", "Bank fee dispute", "银行收费争议",
              "account amount date phone case", "amount account"),
    _category("finance", "account_notice", "Bank notice", "银行通知",
              "", "amount account date", "low"),
    _category("telecom", "network_outage", "Network outage", "网络中断",
              "account place date phone device case", "place date"),
    _category("telecom", "slow_internet", "Slow internet", "网速慢",
              "account place date phone device case", "place device"),
    _category("telecom", "billing_error", "Telecom bill dispute", "话费争议",
              "account amount date phone case", "amount phone"),
    _category("telecom", "plan_change", "Plan change", "套餐变更",
              "account date phone", "phone amount"),
    _category("telecom", "sim_problem", "SIM card problem", "SIM卡问题",
              "phone device date account", "phone device"),
    _category("telecom", "device_fault", "Device fault", "设备故障",
              "device place date phone account case", "device place"),
    _category("government", "noise_complaint", "Noise complaint", "噪音投诉",
              "place date phone case", "place date"),
    _category("government", "road_damage", "Road damage", "道路设施损坏",
              "place date phone case", "place date"),
    _category("government", "water_supply", "Water supply problem", "供水问题",
              "place date phone case", "place date"),
    _category("government", "waste_collection", "Waste problem", "垃圾清运问题",
              "place date phone case", "place date"),
    _category("government", "document_request", "Document request", "证件办理",
              "case date phone place", "case date"),
    _category("government", "social_benefits", "Social benefits", "社会保障",
              "amount date phone case", "amount case"),
    _category("government", "illegal_parking", "Illegal parking", "违章停车",
              "place date phone case", "place date"),
    _category("ecommerce", "delivery_delay", "Delayed delivery", "配送延迟",
              "order product date place phone", "order product"),
    _category("ecommerce", "wrong_item", "Wrong item", "发错商品",
              "order product date phone", "order product"),
    _category("ecommerce", "damaged_item", "Damaged item", "商品损坏",
              "order product date amount phone", "order product"),
    _category("ecommerce", "refund_request", "Refund request", "退款申请",
              "order product amount date phone account", "order amount"),
    _category("ecommerce", "order_cancel", "Order cancellation", "取消订单",
              "order product amount date phone", "order product"),
    _category("ecommerce", "address_change", "Delivery address change", "修改收货信息",
              "order place phone product", "order place"),
    _category("ecommerce", "invoice_request", "Invoice request", "发票申请",
              "order amount product date phone", "order amount"),
    _category("other", "other", "Not a service request", "非服务诉求", "", "", "low"),
)  # fmt: skip

CATEGORIES: dict[str, Category] = {category.name: category for category in _ALL}


def urgency_of(category: Category, cue: str | None) -> str:
    """The rule: a cue in the text decides; without one, the category's own urgency holds."""
    return cue if cue is not None else category.base_urgency


def summary_of(category: Category, entities: dict[str, str], language: str) -> str:
    """The category's phrase, then at most two of its key entities."""
    colon, comma = SUMMARY_PUNCTUATION[language]
    labels = SUMMARY_LABELS[language]
    facts = [labels.get(key, "") + entities[key] for key in category.keys if key in entities][:2]
    return category.phrase[language] + (colon + comma.join(facts) if facts else "")
