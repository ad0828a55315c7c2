from matchengine.v1 import machine_pb2 as _machine_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Side(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIDE_UNSPECIFIED: _ClassVar[Side]
    SIDE_BUY: _ClassVar[Side]
    SIDE_SELL: _ClassVar[Side]

class OrdType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORD_TYPE_UNSPECIFIED: _ClassVar[OrdType]
    ORD_TYPE_MARKET: _ClassVar[OrdType]
    ORD_TYPE_LIMIT: _ClassVar[OrdType]

class TimeInForce(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIME_IN_FORCE_UNSPECIFIED: _ClassVar[TimeInForce]
    TIME_IN_FORCE_GTC: _ClassVar[TimeInForce]
    TIME_IN_FORCE_IOC: _ClassVar[TimeInForce]
SIDE_UNSPECIFIED: Side
SIDE_BUY: Side
SIDE_SELL: Side
ORD_TYPE_UNSPECIFIED: OrdType
ORD_TYPE_MARKET: OrdType
ORD_TYPE_LIMIT: OrdType
TIME_IN_FORCE_UNSPECIFIED: TimeInForce
TIME_IN_FORCE_GTC: TimeInForce
TIME_IN_FORCE_IOC: TimeInForce

class NewOrder(_message.Message):
    __slots__ = ("cl_ord_id", "symbol", "side", "ord_type", "time_in_force", "price", "quantity")
    CL_ORD_ID_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    ORD_TYPE_FIELD_NUMBER: _ClassVar[int]
    TIME_IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    cl_ord_id: int
    symbol: str
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    price: str
    quantity: str
    def __init__(self, cl_ord_id: _Optional[int] = ..., symbol: _Optional[str] = ..., side: _Optional[_Union[Side, str]] = ..., ord_type: _Optional[_Union[OrdType, str]] = ..., time_in_force: _Optional[_Union[TimeInForce, str]] = ..., price: _Optional[str] = ..., quantity: _Optional[str] = ...) -> None: ...

class CancelOrder(_message.Message):
    __slots__ = ("orig_cl_ord_id",)
    ORIG_CL_ORD_ID_FIELD_NUMBER: _ClassVar[int]
    orig_cl_ord_id: int
    def __init__(self, orig_cl_ord_id: _Optional[int] = ...) -> None: ...

class ReduceOrder(_message.Message):
    __slots__ = ("orig_cl_ord_id", "quantity")
    ORIG_CL_ORD_ID_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    orig_cl_ord_id: int
    quantity: str
    def __init__(self, orig_cl_ord_id: _Optional[int] = ..., quantity: _Optional[str] = ...) -> None: ...

class ReplaceOrder(_message.Message):
    __slots__ = ("orig_cl_ord_id", "cl_ord_id", "price", "quantity", "quantity_is_leaves", "lose_place")
    ORIG_CL_ORD_ID_FIELD_NUMBER: _ClassVar[int]
    CL_ORD_ID_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_IS_LEAVES_FIELD_NUMBER: _ClassVar[int]
    LOSE_PLACE_FIELD_NUMBER: _ClassVar[int]
    orig_cl_ord_id: int
    cl_ord_id: int
    price: str
    quantity: str
    quantity_is_leaves: bool
    lose_place: bool
    def __init__(self, orig_cl_ord_id: _Optional[int] = ..., cl_ord_id: _Optional[int] = ..., price: _Optional[str] = ..., quantity: _Optional[str] = ..., quantity_is_leaves: _Optional[bool] = ..., lose_place: _Optional[bool] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("account", "new_order", "cancel", "reduce", "replace", "symbol")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    NEW_ORDER_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    REDUCE_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    account: int
    new_order: NewOrder
    cancel: CancelOrder
    reduce: ReduceOrder
    replace: ReplaceOrder
    symbol: str
    def __init__(self, account: _Optional[int] = ..., new_order: _Optional[_Union[NewOrder, _Mapping]] = ..., cancel: _Optional[_Union[CancelOrder, _Mapping]] = ..., reduce: _Optional[_Union[ReduceOrder, _Mapping]] = ..., replace: _Optional[_Union[ReplaceOrder, _Mapping]] = ..., symbol: _Optional[str] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("session_id", "sequence", "acknowledged", "packed", "commands", "slices", "position")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    sequence: int
    acknowledged: int
    packed: bytes
    commands: _containers.RepeatedCompositeFieldContainer[Command]
    slices: bool
    position: int
    def __init__(self, session_id: _Optional[int] = ..., sequence: _Optional[int] = ..., acknowledged: _Optional[int] = ..., packed: _Optional[bytes] = ..., commands: _Optional[_Iterable[_Union[Command, _Mapping]]] = ..., slices: _Optional[bool] = ..., position: _Optional[int] = ...) -> None: ...

class SubmitResponse(_message.Message):
    __slots__ = ("sequence", "status", "index", "packed", "reports", "exchange_time", "position", "more")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    status: _machine_pb2.SessionStatus
    index: int
    packed: bytes
    reports: _containers.RepeatedCompositeFieldContainer[Report]
    exchange_time: int
    position: int
    more: bool
    def __init__(self, sequence: _Optional[int] = ..., status: _Optional[_Union[_machine_pb2.SessionStatus, str]] = ..., index: _Optional[int] = ..., packed: _Optional[bytes] = ..., reports: _Optional[_Iterable[_Union[Report, _Mapping]]] = ..., exchange_time: _Optional[int] = ..., position: _Optional[int] = ..., more: _Optional[bool] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("exec_type", "ord_status", "side", "reason", "command", "symbol", "account", "order_id", "cl_ord_id", "orig_cl_ord_id", "trade_id", "price", "last_px", "last_qty", "leaves_qty", "cum_qty")
    EXEC_TYPE_FIELD_NUMBER: _ClassVar[int]
    ORD_STATUS_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    CL_ORD_ID_FIELD_NUMBER: _ClassVar[int]
    ORIG_CL_ORD_ID_FIELD_NUMBER: _ClassVar[int]
    TRADE_ID_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    LAST_PX_FIELD_NUMBER: _ClassVar[int]
    LAST_QTY_FIELD_NUMBER: _ClassVar[int]
    LEAVES_QTY_FIELD_NUMBER: _ClassVar[int]
    CUM_QTY_FIELD_NUMBER: _ClassVar[int]
    exec_type: str
    ord_status: str
    side: Side
    reason: str
    command: int
    symbol: str
    account: int
    order_id: int
    cl_ord_id: int
    orig_cl_ord_id: int
    trade_id: int
    price: str
    last_px: str
    last_qty: str
    leaves_qty: str
    cum_qty: str
    def __init__(self, exec_type: _Optional[str] = ..., ord_status: _Optional[str] = ..., side: _Optional[_Union[Side, str]] = ..., reason: _Optional[str] = ..., command: _Optional[int] = ..., symbol: _Optional[str] = ..., account: _Optional[int] = ..., order_id: _Optional[int] = ..., cl_ord_id: _Optional[int] = ..., orig_cl_ord_id: _Optional[int] = ..., trade_id: _Optional[int] = ..., price: _Optional[str] = ..., last_px: _Optional[str] = ..., last_qty: _Optional[str] = ..., leaves_qty: _Optional[str] = ..., cum_qty: _Optional[str] = ...) -> None: ...

class AddInstrumentRequest(_message.Message):
    __slots__ = ("session_id", "sequence", "acknowledged", "symbol", "tick_size", "lot_size")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TICK_SIZE_FIELD_NUMBER: _ClassVar[int]
    LOT_SIZE_FIELD_NUMBER: _ClassVar[int]
    session_id: int
    sequence: int
    acknowledged: int
    symbol: str
    tick_size: str
    lot_size: str
    def __init__(self, session_id: _Optional[int] = ..., sequence: _Optional[int] = ..., acknowledged: _Optional[int] = ..., symbol: _Optional[str] = ..., tick_size: _Optional[str] = ..., lot_size: _Optional[str] = ...) -> None: ...

class AddInstrumentResponse(_message.Message):
    __slots__ = ("sequence", "status", "instrument", "reason")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    status: _machine_pb2.SessionStatus
    instrument: int
    reason: str
    def __init__(self, sequence: _Optional[int] = ..., status: _Optional[_Union[_machine_pb2.SessionStatus, str]] = ..., instrument: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Instrument(_message.Message):
    __slots__ = ("instrument", "symbol", "tick_size", "lot_size")
    INSTRUMENT_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    TICK_SIZE_FIELD_NUMBER: _ClassVar[int]
    LOT_SIZE_FIELD_NUMBER: _ClassVar[int]
    instrument: int
    symbol: str
    tick_size: str
    lot_size: str
    def __init__(self, instrument: _Optional[int] = ..., symbol: _Optional[str] = ..., tick_size: _Optional[str] = ..., lot_size: _Optional[str] = ...) -> None: ...

class InstrumentsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InstrumentsResponse(_message.Message):
    __slots__ = ("instruments", "index")
    INSTRUMENTS_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    instruments: _containers.RepeatedCompositeFieldContainer[Instrument]
    index: int
    def __init__(self, instruments: _Optional[_Iterable[_Union[Instrument, _Mapping]]] = ..., index: _Optional[int] = ...) -> None: ...

class DepthRequest(_message.Message):
    __slots__ = ("symbol", "levels")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    levels: int
    def __init__(self, symbol: _Optional[str] = ..., levels: _Optional[int] = ...) -> None: ...

class Level(_message.Message):
    __slots__ = ("price", "quantity", "orders", "price_ticks", "quantity_lots")
    PRICE_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    PRICE_TICKS_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_LOTS_FIELD_NUMBER: _ClassVar[int]
    price: str
    quantity: str
    orders: int
    price_ticks: int
    quantity_lots: int
    def __init__(self, price: _Optional[str] = ..., quantity: _Optional[str] = ..., orders: _Optional[int] = ..., price_ticks: _Optional[int] = ..., quantity_lots: _Optional[int] = ...) -> None: ...

class DepthResponse(_message.Message):
    __slots__ = ("bids", "asks", "index", "exchange_time")
    BIDS_FIELD_NUMBER: _ClassVar[int]
    ASKS_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    bids: _containers.RepeatedCompositeFieldContainer[Level]
    asks: _containers.RepeatedCompositeFieldContainer[Level]
    index: int
    exchange_time: int
    def __init__(self, bids: _Optional[_Iterable[_Union[Level, _Mapping]]] = ..., asks: _Optional[_Iterable[_Union[Level, _Mapping]]] = ..., index: _Optional[int] = ..., exchange_time: _Optional[int] = ...) -> None: ...

class OrderRequest(_message.Message):
    __slots__ = ("order_id", "account", "cl_ord_id")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    CL_ORD_ID_FIELD_NUMBER: _ClassVar[int]
    order_id: int
    account: int
    cl_ord_id: int
    def __init__(self, order_id: _Optional[int] = ..., account: _Optional[int] = ..., cl_ord_id: _Optional[int] = ...) -> None: ...

class OrderResponse(_message.Message):
    __slots__ = ("found", "order_id", "account", "cl_ord_id", "symbol", "side", "price", "leaves_qty", "cum_qty", "index")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    CL_ORD_ID_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    LEAVES_QTY_FIELD_NUMBER: _ClassVar[int]
    CUM_QTY_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    found: bool
    order_id: int
    account: int
    cl_ord_id: int
    symbol: str
    side: Side
    price: str
    leaves_qty: str
    cum_qty: str
    index: int
    def __init__(self, found: _Optional[bool] = ..., order_id: _Optional[int] = ..., account: _Optional[int] = ..., cl_ord_id: _Optional[int] = ..., symbol: _Optional[str] = ..., side: _Optional[_Union[Side, str]] = ..., price: _Optional[str] = ..., leaves_qty: _Optional[str] = ..., cum_qty: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class QuoteRequest(_message.Message):
    __slots__ = ("symbol", "side", "quantity")
    SYMBOL_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    symbol: str
    side: Side
    quantity: str
    def __init__(self, symbol: _Optional[str] = ..., side: _Optional[_Union[Side, str]] = ..., quantity: _Optional[str] = ...) -> None: ...

class QuoteResponse(_message.Message):
    __slots__ = ("amount", "filled_quantity", "sufficient", "index")
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    FILLED_QUANTITY_FIELD_NUMBER: _ClassVar[int]
    SUFFICIENT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    amount: str
    filled_quantity: str
    sufficient: bool
    index: int
    def __init__(self, amount: _Optional[str] = ..., filled_quantity: _Optional[str] = ..., sufficient: _Optional[bool] = ..., index: _Optional[int] = ...) -> None: ...
