"""Closed word lists for entity values; in each list the second part is held out from training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WordList:
    """Words for training, and words that only the evaluation may use."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]

    def of(self, split: str) -> tuple[str, ...]:
        return self.held_out if split == "held_out" else self.train


def _words(train: str, held_out: str, separator: str = ",") -> WordList:
    def parts(text: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in text.split(separator))

    return WordList(parts(train), parts(held_out))


DAYS_EN = _words(
    "yesterday, last Monday, last Tuesday, last Thursday, last Friday, last Saturday, this Monday, "
    "this Friday",
    "last Wednesday, last Sunday, this Wednesday, this Sunday",
)
DAYS_ZH = _words(
    "昨天,前天,今天,上周一,上周二,上周四,上周五,上周六,这周一,这周五,上个星期一,上个星期五,本周二",
    "上周三,上周日,大前天,这周三,上个星期三,本周日",
)
PARTS_OF_DAY_EN = ("morning", "afternoon", "evening", "night", "at noon")
PARTS_OF_DAY_ZH = ("早上", "上午", "中午", "下午", "晚上", "凌晨", "夜里", "傍晚")
COUNTS_EN = _words("two, three, five, six, seven, eight, ten, 2, 3, 5, 6", "four, nine, 4, 9")
COUNTS_ZH = _words("两,三,五,六,七,八,十,2,3,5,6", "四,九,4,9")
OTHER_DATES_EN = _words(
    "this morning, this afternoon, this evening, last night, last week, last weekend, a week ago, "
    "on the weekend, the day before yesterday",
    "earlier today, last month, a month ago",
)
OTHER_DATES_ZH = _words("昨晚,上个月,上周,一个星期前,上周末,月初,今早", "上个月底,去年底,前几天")

STREET_KINDS_EN = (
    "Street", "Road", "Avenue", "Lane", "Square", "Crescent", "Gardens", "Bridge", "Park",
    "District", "Market", "Station", "Court", "Hill", "Estate", "Tower", "Hospital", "School",
)  # fmt: skip
STREET_KINDS_ZH = (
    "路", "街", "大街", "巷", "区", "小区", "村", "镇", "广场", "大厦", "公园", "花园",
    "医院", "小学", "地铁站", "街道", "新村", "家园",
)  # fmt: skip
NUMBERED_KINDS_ZH = ("路", "街", "大街", "巷")
NAME_ENDINGS_EN = (
    "ford", "ton", "field", "mere", "wood", "hollow", "bury", "dale", "gate", "worth", "wick",
    "ham", "stead", "brook", "low", "combe", "side", "well", "stone", "bourne", "ridge", "by",
)  # fmt: skip
NAME_CHARACTERS_ZH = (
    "清河江海湖山水云星明光华新东西南北中安平和福康乐春秋松竹梅兰桂柳杨桃金银玉石龙凤鹤白青红紫翠"
    "长永宁建国民人文化学园景城阳天瑞祥兴隆富贵锦绣彩虹丰泰富盛德仁义信礼望远达通利滨港湾沙洲岛"
    "溪泉源池塘桥堤岸坡岭峰谷川原林森草花莲荷菊芳香馨雅静幽雪雨风雷电晨曦晓暮夜月"
)

DEVICES = {
    "en": _words(
        "router, modem, set-top box, optical modem, gateway, phone, tablet, wifi router, "
        "fibre box, TV box, landline phone, wireless router, mobile phone, hotspot",
        "mesh node, range extender, smartwatch, cable box",
    ),
    "zh": _words(
        "路由器,光猫,机顶盒,手机,平板,无线路由器,电视盒子,座机,调制解调器,网关,随身WiFi,智能手机",
        "信号放大器,智能手表,子母路由,电话机",
    ),
}

DEVICE_ENDINGS_EN = ("box", "unit", "device", "terminal", "receiver", "adapter", "phone", "modem")
DEVICE_ENDINGS_ZH = ("器", "机", "盒", "仪", "终端", "手机", "猫", "网关")
PRODUCT_ENDINGS_EN = (
    "set", "bag", "case", "holder", "cup", "box", "pen", "cover", "machine", "cream", "shoes", "",
    "", "", "",
)  # fmt: skip
PRODUCT_ENDINGS_ZH = (
    "器", "机", "杯", "垫", "袋", "衣", "鞋", "盒", "灯", "锅", "车", "架", "膏", "粉", "笔", "椅",
    "帽", "壶", "伞", "套装", "糖", "茶", "",
)  # fmt: skip

PRODUCT_MODIFIERS = {
    "en": _words(
        "wireless, electric, cotton, leather, stainless steel, portable, foldable, blue, black, "
        "large, small, 32-inch, waterproof, smart, wooden, second-hand, double, gaming, "
        "kitchen, children's, LED, silk, ceramic, 2-litre",
        "bamboo, inflatable, turquoise, 55-inch, velvet, marble",
    ),
    "zh": _words(
        "无线,电动,纯棉,真皮,不锈钢,便携,折叠,蓝色,黑色,大号,小号,32寸,防水,智能,实木,双层,"
        "儿童,陶瓷,玻璃,加厚,迷你,女士,男士,家用",
        "竹制,充气,墨绿色,55寸,丝绒,大理石",
    ),
}
PRODUCT_NOUNS = {
    "en": _words(
        "headphones, earphones, kettle, blanket, backpack, watch, shoes, jacket, lamp, monitor, "
        "keyboard, mouse, rice cooker, coffee machine, vacuum cleaner, hair dryer, suitcase, desk, "
        "chair, mattress, bookshelf, camera, speaker, toothbrush, toaster, fan, heater, air fryer, "
        "dress, shirt, trousers, coat, sandals, handbag, mirror, curtain, carpet, pillow, "
        "tea set, frying pan, knife set, umbrella, bicycle, helmet, scooter, tent, drone, printer, "
        "laptop, phone case, charger, power bank, washing machine, fridge, microwave oven, doll, "
        "puzzle, notebook, perfume, face cream, lipstick, vase, clock, garden hose, drill, ladder",
        "blender, sofa, sweater, guitar, telescope, yoga mat, fountain pen, thermos flask, "
        "hammock, waffle iron, pressure cooker, sunglasses, violin, treadmill, wallet, jigsaw",
    ),
    "zh": _words(
        "耳机,水壶,毛毯,背包,手表,运动鞋,夹克,台灯,显示器,键盘,鼠标,电饭煲,咖啡机,吸尘器,吹风机,"
        "行李箱,书桌,椅子,床垫,书架,相机,音箱,牙刷,烤箱,风扇,取暖器,空气炸锅,连衣裙,衬衫,裤子,"
        "大衣,凉鞋,手提包,镜子,窗帘,地毯,枕头,茶具,炒锅,刀具,雨伞,自行车,头盔,滑板车,帐篷,无人机,"
        "打印机,笔记本电脑,手机壳,充电器,充电宝,洗衣机,冰箱,微波炉,玩偶,拼图,笔记本,香水,面霜,口红,"
        "花瓶,闹钟,水管,电钻,梯子,奶粉,纸尿裤,零食礼盒",
        "榨汁机,沙发,毛衣,吉他,望远镜,瑜伽垫,钢笔,保温杯,吊床,高压锅,太阳镜,小提琴,跑步机,钱包,"
        "加湿器,羽绒服",
    ),
}
